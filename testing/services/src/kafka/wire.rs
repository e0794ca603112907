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

/// The longest answer that is read: some brokers take some dozen bytes each.
const MOST: usize = 64 << 10;

/// On which ports brokers are in service, as this one sees it.
pub(super) fn brokers(address: &str, limit: Duration) -> io::Result<Vec<u16>> {
    let address: SocketAddr = address.parse().map_err(io::Error::other)?;
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(&REQUEST)?;
    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    let size = u32::from_be_bytes(size) as usize;
    if size > MOST {
        return Err(stranger());
    }
    let mut answer = vec![0; size];
    stream.read_exact(&mut answer)?;
    ports(&answer).ok_or_else(stranger)
}

fn stranger() -> io::Error {
    io::Error::other("what answers is not Kafka")
}

/// The number that comes back, then the brokers: id, host, port and rack of each. What follows is of no interest.
fn ports(answer: &[u8]) -> Option<Vec<u16>> {
    let rest = answer.strip_prefix(&[0, 0, 0, 7])?;
    let (count, mut rest) = rest.split_first_chunk()?;
    let mut ports = Vec::new();
    for _ in 0..u32::from_be_bytes(*count) {
        let host;
        (_, rest) = rest.split_first_chunk::<4>()?;
        (host, rest) = rest.split_first_chunk()?;
        rest = rest.get(usize::from(u16::from_be_bytes(*host))..)?;
        let (port, rack);
        (port, rest) = rest.split_first_chunk()?;
        (rack, rest) = rest.split_first_chunk()?;
        // -1: none.
        rest = rest.get(usize::try_from(i16::from_be_bytes(*rack)).unwrap_or(0)..)?;
        ports.push(u16::try_from(u32::from_be_bytes(*port)).ok()?);
    }
    Some(ports)
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    fn asked(answer: &'static [u8]) -> io::Result<Vec<u16>> {
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
    fn brokers_are_told_apart_and_strangers_are_none() {
        let two: [&[u8]; 4] = [
            &[0, 0, 0, 7, 0, 0, 0, 2],
            &[0, 0, 0, 1, 0, 1, b'a', 0, 0, 0x23, 0x84, 0xff, 0xff],
            &[0, 0, 0, 2, 0, 1, b'b', 0, 0, 0x23, 0x85, 0, 1, b'r'],
            b"what follows",
        ];
        assert_eq!(ports(&two.concat()), Some(vec![9092, 9093]));
        assert_eq!(ports(&two.concat()[..20]), None);
        assert!(asked(&[0, 0, 0, 8, 0, 0, 0, 7, 0, 0, 0, 0]).unwrap().is_empty());
        assert!(asked(b"-ERR unknown command\r\n").is_err());
        assert!(asked(b"").is_err());
    }
}
