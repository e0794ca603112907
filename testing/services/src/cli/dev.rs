//! `up`, `down` and `status`: services that stay for a day of development.

mod service;

use std::process::ExitCode;

use self::service::Service;

pub(crate) fn up() -> anyhow::Result<ExitCode> {
    for service in Service::all() {
        println!("{}", service.up()?);
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn down() -> anyhow::Result<ExitCode> {
    for service in Service::all() {
        println!("{}", service.down()?);
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn status() -> anyhow::Result<ExitCode> {
    let mut all_answer = true;
    for service in Service::all() {
        let (answers, line) = service.status()?;
        println!("{line}");
        all_answer &= answers;
    }
    Ok(if all_answer { ExitCode::SUCCESS } else { ExitCode::from(crate::UNAVAILABLE) })
}
