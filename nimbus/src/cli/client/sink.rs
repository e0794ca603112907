//! `--results FILE`: each answer once, as one JSON line, also when the client is killed and started again.
//!
//! The SDK hands an answer out again if the process died before acknowledging it. So this file is kept before the
//! acknowledgement, and what it holds already is recognised by (outbox id, number), the key that names an event for good:
//! the pattern for anything that must have an effect once.

use std::{
    collections::HashSet,
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, BufWriter, Seek, SeekFrom, Write},
    path::Path,
};

use serde_json::Value;

use super::output::hex;

#[derive(Debug)]
pub(crate) struct Sink {
    file: BufWriter<File>,
    kept: HashSet<(String, u64)>,
}

impl Sink {
    /// Opens the file and reads what it holds. A last line without its end (the machine lost power) is cut off.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
        let mut reader = BufReader::new(file);
        let (mut kept, mut whole, mut line) = (HashSet::new(), 0, String::new());
        while reader.read_line(&mut line)? > 0 && line.ends_with('\n') {
            let entry: Value = serde_json::from_str(&line).map_err(io::Error::other)?;
            if let (Some(outbox), Some(seq)) = (entry["outbox"].as_str(), entry["seq"].as_u64()) {
                kept.insert((outbox.to_owned(), seq));
            }
            whole += line.len() as u64;
            line.clear();
        }
        let mut file = reader.into_inner();
        file.set_len(whole)?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self { file: BufWriter::new(file), kept })
    }

    /// Takes the answer to event `seq` of `outbox`, unless the file has it.
    pub(crate) fn keep(&mut self, outbox: &[u8], seq: u64, mut entry: Value) -> io::Result<bool> {
        let outbox = hex(outbox);
        if !self.kept.insert((outbox.clone(), seq)) {
            return Ok(false);
        }
        entry["outbox"] = Value::from(outbox);
        entry["seq"] = Value::from(seq);
        writeln!(self.file, "{entry}")?;
        Ok(true)
    }

    /// Hands everything to the operating system: from here it survives a kill of this process.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    fn lines(path: &Path) -> Vec<String> {
        fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn an_answer_is_kept_once_across_restarts_and_a_torn_line_is_cut() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("results");
        let outbox = [7_u8; 16];
        fs::write(&path, format!("{{\"outbox\":\"{}\",\"seq\":3}}\n{{\"outbox\":\"07", hex(&outbox))).unwrap();
        let mut sink = Sink::open(&path).unwrap();
        assert_eq!(lines(&path).len(), 1);
        assert!(!sink.keep(&outbox, 3, json!({})).unwrap());
        assert!(sink.keep(&[8; 16], 3, json!({})).unwrap(), "another outbox counts for itself");
        sink.flush().unwrap();
        drop(sink);
        assert_eq!(lines(&path).len(), 2);
        assert!(!Sink::open(&path).unwrap().keep(&[8; 16], 3, json!({})).unwrap());
    }
}
