//! Connections in place of TCP, behind the types that tonic wants.

use std::{
    fmt::Debug,
    io,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::codegen::{Service, http::Uri};

/// A byte stream to a server, both ways.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> Connection for C {}

/// Opens connections: over a Unix socket, through a tunnel, within a process.
pub trait Connector: Debug + Send + Sync + 'static {
    /// Opens one. It is dropped when it takes longer than a connect may; a failure is tried again after a while.
    fn connect(&self) -> BoxFuture<'static, io::Result<Box<dyn Connection>>>;
}

/// A connector as a tower service.
#[derive(Debug, Clone)]
pub(super) struct Through(pub(super) Arc<dyn Connector>);

impl Service<Uri> for Through {
    type Response = TokioIo<Box<dyn Connection>>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Where to is the connector's business; the address of the builder only names the server in the requests.
    fn call(&mut self, _: Uri) -> Self::Future {
        let connecting = self.0.connect();
        Box::pin(async move { connecting.await.map(TokioIo::new) })
    }
}
