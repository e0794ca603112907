pub(crate) const LISTENING: &str = "listening on ";
#[derive(Debug, clap::Args)]
pub(crate) struct Plan {}
pub(crate) async fn run(_: &Plan) -> anyhow::Result<()> {
    Ok(())
}
