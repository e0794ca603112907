//! As much of Redis' protocol as it takes to ask one question and read one simple answer.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// Asks on a connection of its own. The answer is text: a status, a number, a string; or a list of them,
/// one a line.
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
    answer(&mut BufReader::new(stream))
}

fn answer(reader: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let text = line.trim_end();
    match text.split_at_checked(1) {
        Some(("+" | ":", answer)) => Ok(answer.to_owned()),
        Some(("-", error)) => Err(io::Error::other(error.to_owned())),
        Some(("$", length)) => {
            // With the end of the line behind it.
            let mut bytes = vec![0; length.parse::<usize>().map_err(io::Error::other)? + 2];
            reader.read_exact(&mut bytes)?;
            bytes.truncate(bytes.len() - 2);
            String::from_utf8(bytes).map_err(io::Error::other)
        }
        Some(("*", count)) => {
            let count: usize = count.parse().map_err(io::Error::other)?;
            let items: Vec<_> = (0..count).map(|_| answer(reader)).collect::<io::Result<_>>()?;
            Ok(items.join("\n"))
        }
        _ => Err(io::Error::other(format!("what answers is not Redis: {text:?}"))),
    }
}
