//! As much of Redis' protocol as it takes to ask one question and read one simple answer.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// Asks on a connection of its own. The answer is text: a status, a number or a string; not a list.
///
/// # Errors
/// Nobody answers within `limit`, or the answer is an error, whose text is in the message.
pub(super) fn ask(address: &str, words: &[&str], limit: Duration) -> io::Result<String> {
    let address: SocketAddr = address.parse().map_err(io::Error::other)?;
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    stream.write_all(request.as_bytes())?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let text = line.trim_end();
    match text.split_at_checked(1) {
        Some(("+" | ":", answer)) => Ok(answer.to_owned()),
        Some(("-", error)) => Err(io::Error::other(error.to_owned())),
        Some(("$", length)) => {
            let mut bytes = vec![0; length.parse().map_err(io::Error::other)?];
            reader.read_exact(&mut bytes)?;
            String::from_utf8(bytes).map_err(io::Error::other)
        }
        _ => Err(io::Error::other(format!("what answers is not Redis, or not in one piece: {text:?}"))),
    }
}
