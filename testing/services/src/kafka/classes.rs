//! Java's archive of the broker's classes, read and checked once: with it a start takes some 2 s of a processor and not 4. A suite
//! that starts dozens of brokers on two processors waits for little else.
//!
//! It is made on the machine that uses it, by a broker that is started and stopped for it. Java takes no notice of one that is not
//! its own, and before version 13 makes none: brokers start without it then.

use std::{fs, path::Path};

use super::{KafkaOptions, Seat, jars::Jars, spawn_with, until_it_serves};
use crate::{Error, Result, home::Home, ports};

/// What a broker is started with to use the archive, if there is one.
pub(super) fn flags(jars: &Jars) -> Vec<String> {
    let archive = jars.classes();
    let is_there = archive.metadata().is_ok_and(|metadata| metadata.len() > 0);
    if is_there { vec![format!("-XX:SharedArchiveFile={}", archive.display())] } else { Vec::new() }
}

/// Makes the archive. Where Java makes none, an empty file says so, and nobody tries again.
pub(super) fn archive(jars: &Jars) -> Result<()> {
    let part = jars.classes().with_extension("part");
    eprintln!("nimbus-services: reading Kafka's classes (some seconds, once)");
    ports::retry(false, || run_once(jars, &part))?;
    let made = if part.exists() { fs::rename(&part, jars.classes()) } else { fs::write(jars.classes(), "") };
    made.map_err(Error::io(format!("{} could not be made", jars.classes().display())))
}

fn run_once(jars: &Jars, part: &Path) -> Result<()> {
    let home = Home::open(None, "kafka")?;
    let [broker, controller] = ports::free()?;
    let seat = Seat { own: 0, broker, secured: None, controllers: vec![controller] };
    let dump = ["-XX:+IgnoreUnrecognizedVMOptions".to_owned(), format!("-XX:ArchiveClassesAtExit={}", part.display())];
    let mut process = spawn_with(jars, &dump, &KafkaOptions::default(), &seat, &home)?;
    until_it_serves(&mut process, &seat)?;
    process.stop()
}
