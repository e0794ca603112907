//! Names that begin with `NIMBUS_` and are no settings.
//!
//! A mistyped name means that someone believes in a setting that is not in force. Refusing to start costs one restart
//! now; going on costs an incident later, most of all when the name was to make things safe. Hence:
//!
//! - a name within one of our own prefixes (`NIMBUS_SESSION_`, `NIMBUS_AUTH_`, …), or close to a known name, or one that
//!   lacks or adds a word, is an **error** that names the nearest known one. The price: a rollback to a version that does
//!   not know a setting yet needs that setting removed as well;
//! - a name that Kubernetes or Docker links made (`NIMBUS_SERVICE_HOST`, `NIMBUS_PORT_50051_TCP_ADDR`, …) is **ignored**:
//!   they come with every service whose name begins with `nimbus`, and mean nothing;
//! - `NIMBUS_PORT=tcp://…` is such an address under the name of a setting: ignored with a **warning**, because nobody chose
//!   it (a port set in the pod's own `env` would have replaced it);
//! - any other name is a **warning**: another program's settings may live next to ours.
//!
//! That is a server's start. The commands that read only some of the settings (`nimbus client`, `nimbus data`) run once and do
//! what they say: for them each of these names is a warning.

use crate::{
    environment::{Environment, PREFIX},
    problem::Problem,
    reading::Reading,
    sections,
};

/// Most letters apart that two names are and still count as one mistyped; shorter names are allowed less.
const TYPO_DISTANCE: usize = 3;

pub(crate) fn check(reading: &mut Reading<'_>) {
    let environment = reading.environment();
    for name in environment.service_addresses() {
        reading.warn(
            name,
            "holds an address that Kubernetes makes for a service of this name; it is ignored. Set the variable in the \
             pod's own env, or set enableServiceLinks: false",
        );
    }
    for (name, nearest) in unknown(environment) {
        if is_meant_for_us(name, nearest) {
            reading.unknown(Problem {
                name: name.to_owned(),
                wrong: "is not a setting".to_owned(),
                remedy: format!("did you mean {nearest}? Correct the name, or unset it"),
            });
        } else {
            reading.warn(name, format!("is not a setting and is ignored; the nearest is {nearest}"));
        }
    }
}

/// For commands that read only some of the settings: no name stops them, whatever it was meant for.
pub(crate) fn warn(reading: &mut Reading<'_>) {
    for (name, nearest) in unknown(reading.environment()) {
        let hint = match is_meant_for_us(name, nearest) {
            true => format!("did you mean {nearest}?"),
            false => format!("the nearest is {nearest}"),
        };
        reading.warn(name, format!("is not a setting and is ignored; {hint}"));
    }
}

/// Names that are no settings, each with the nearest one that is.
fn unknown(environment: &Environment) -> impl Iterator<Item = (&str, &'static str)> {
    let unknown = environment.names().filter(|name| !crate::settings().any(|setting| setting.name == *name));
    unknown.filter(|name| !is_service_variable(name)).map(|name| (name, nearest(name)))
}

fn nearest(name: &str) -> &'static str {
    let tail = bare(name);
    let part = |known: &&'static str| bare(known).ends_with(&format!("_{tail}")) && tail.contains('_');
    let names = || crate::settings().map(|setting| setting.name);
    let closest = || names().min_by_key(|known| strsim::damerau_levenshtein(name, known));
    names().find(part).or_else(closest).expect("there are settings")
}

fn bare(name: &str) -> &str {
    name.strip_prefix(PREFIX).unwrap_or(name)
}

fn is_meant_for_us(name: &str, nearest: &str) -> bool {
    let (given, known) = (bare(name), bare(nearest));
    let allowed = (known.len() / 4).clamp(1, TYPO_DISTANCE);
    sections::PREFIXES.iter().any(|prefix| *prefix != PREFIX && name.starts_with(prefix))
        || strsim::damerau_levenshtein(given, known) <= allowed
        || known.ends_with(&format!("_{given}"))
        || given.starts_with(&format!("{known}_"))
}

/// Whether `name` is what Kubernetes and Docker links call the address `value` of a service.
pub(crate) fn is_service_address(name: &str, value: &str) -> bool {
    name.ends_with("_PORT") && ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme))
}

/// Whether a name is one of those that Kubernetes and Docker links make from a service's name.
fn is_service_variable(name: &str) -> bool {
    if name.ends_with("_SERVICE_HOST") || name.ends_with("_SERVICE_PORT") || name.contains("_SERVICE_PORT_") {
        return true;
    }
    let Some((_, rest)) = name.split_once("_PORT_") else { return false };
    let mut parts = rest.splitn(3, '_');
    let number = parts.next().unwrap_or_default();
    let protocol = parts.next().unwrap_or_default();
    let field = parts.next().unwrap_or_default();
    number.parse::<u16>().is_ok()
        && ["TCP", "UDP", "SCTP"].contains(&protocol)
        && ["", "ADDR", "PORT", "PROTO"].contains(&field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_made_by_kubernetes_are_told_from_settings() {
        for name in [
            "NIMBUS_SERVICE_HOST",
            "NIMBUS_SERVICE_PORT",
            "NIMBUS_SERVICE_PORT_GRPC",
            "NIMBUS_PORT_50051_TCP",
            "NIMBUS_PORT_50051_TCP_ADDR",
            "NIMBUS_ADMIN_SERVICE_HOST",
        ] {
            assert!(is_service_variable(name), "{name}");
        }
        for name in ["NIMBUS_PORT_X_TCP", "NIMBUS_SERVICE", "NIMBUS_PORT_50051_HTTP", "NIMBUS_PORTS"] {
            assert!(!is_service_variable(name), "{name}");
        }
    }
}
