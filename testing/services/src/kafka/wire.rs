//! The one question to a broker that tells whether it is in service: its metadata, asked as a client asks.
//!
//! A broker accepts connections before the controller lets it serve. Only then does it stand in its own metadata.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// How long a broker that is starting may think about the answer. It is asked again.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// Metadata, version 1: of no topic, only of the brokers. Every Kafka since 0.10 answers it.
const REQUEST: [u8; 18] = [
    0, 0, 0, 14, // what follows
    0, 3, 0, 1, // Metadata, version 1
    0, 0, 0, 7, // a number that comes back
    0xff, 0xff, // no client id
    0, 0, 0, 0, // no topics
];

/// How many brokers are in service, as this one sees it.
pub(super) fn brokers(address: &str, limit: Duration) -> io::Result<u32> {
    let address: SocketAddr = address.parse().map_err(io::Error::other)?;
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(&REQUEST)?;
    // Size, the number, then the brokers, of which only their count is of interest.
    let mut answer = [0; 12];
    stream.read_exact(&mut answer)?;
    let [_, number, brokers] = [0, 4, 8].map(|at| [answer[at], answer[at + 1], answer[at + 2], answer[at + 3]]);
    if number != [0, 0, 0, 7] {
        return Err(io::Error::other("what answers is not Kafka"));
    }
    Ok(u32::from_be_bytes(brokers))
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    fn asked(answer: &'static [u8]) -> io::Result<u32> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let peer = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; REQUEST.len()];
            stream.read_exact(&mut request).unwrap();
            stream.write_all(answer).unwrap();
        });
        let brokers = brokers(&address, ANSWER_LIMIT);
        peer.join().unwrap();
        brokers
    }

    #[test]
    fn brokers_are_counted_and_strangers_are_none() {
        assert_eq!(asked(&[0, 0, 0, 40, 0, 0, 0, 7, 0, 0, 0, 1]).unwrap(), 1);
        assert!(asked(b"-ERR unknown command\r\n").is_err());
        assert!(asked(b"").is_err());
    }
}
