//! Text to values. Each error continues the sentence `NAME: "value" …`.

use std::{
    fmt::Display,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

const KIB: u64 = 1024;

pub(crate) fn duration(range: RangeInclusive<Duration>) -> impl Fn(&str) -> Result<Duration, String> {
    move |text| {
        let Ok(value) = humantime::parse_duration(text) else {
            return Err(match text.parse::<f64>() {
                Ok(_) => "has no unit; write ms, s, m, h or d behind the number".to_owned(),
                Err(_) => "is not a duration".to_owned(),
            });
        };
        let show = humantime::format_duration;
        within(value, &range, |bound| show(*bound).to_string())
    }
}

pub(crate) fn integer<T>(range: RangeInclusive<T>) -> impl Fn(&str) -> Result<T, String>
where
    T: FromStr + PartialOrd + Display + Copy,
{
    move |text| {
        let digits = text.strip_prefix('-').unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err("is not a whole number".to_owned());
        }
        let between = || format!("is not between {} and {}", range.start(), range.end());
        let value = text.parse().map_err(|_| between())?;
        within(value, &range, |bound| bound.to_string())
    }
}

pub(crate) fn bytes(range: RangeInclusive<u64>) -> impl Fn(&str) -> Result<u64, String> {
    move |text| {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let factor = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "kib" => KIB,
            "mib" => KIB.pow(2),
            "gib" => KIB.pow(3),
            "tib" => KIB.pow(4),
            _ => return Err("is not a size; write a number of bytes, or one with KiB, MiB, GiB or TiB".to_owned()),
        };
        let number: u64 = number.parse().map_err(|_| "is not a size".to_owned())?;
        let value = number.checked_mul(factor).ok_or("is too large")?;
        within(value, &range, |bound| size(*bound))
    }
}

/// A size that fits into this machine's memory addresses.
pub(crate) fn memory(range: RangeInclusive<u64>) -> impl Fn(&str) -> Result<usize, String> + Clone {
    move |text| usize::try_from(bytes(range.clone())(text)?).map_err(|_| "is too large for this machine".to_owned())
}

fn within<T: PartialOrd + Copy>(value: T, range: &RangeInclusive<T>, show: impl Fn(&T) -> String) -> Result<T, String> {
    if range.contains(&value) {
        Ok(value)
    } else {
        Err(format!("is not between {} and {}", show(range.start()), show(range.end())))
    }
}

/// A size as people write it: the largest unit that divides it.
pub(crate) fn size(bytes: u64) -> String {
    for (factor, unit) in [(KIB.pow(4), "TiB"), (KIB.pow(3), "GiB"), (KIB.pow(2), "MiB"), (KIB, "KiB")] {
        if bytes >= factor && bytes.is_multiple_of(factor) {
            return format!("{}{unit}", bytes / factor);
        }
    }
    bytes.to_string()
}

pub(crate) fn boolean(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" => Ok(true),
        "false" | "0" | "no" => Ok(false),
        _ => Err("is neither true nor false".to_owned()),
    }
}

pub(crate) fn ip(text: &str) -> Result<IpAddr, String> {
    // `localhost` may resolve to several addresses, and to none when DNS is down: one address is one address.
    text.parse().map_err(|_| "is not an IP address (a name is not enough)".to_owned())
}

/// An address with a port, or `off`.
pub(crate) fn socket_or_off(text: &str) -> Result<Option<SocketAddr>, String> {
    match text {
        "off" => Ok(None),
        address => {
            let parsed = address.parse().map(Some);
            parsed.map_err(|_| "is neither an IP address with a port nor `off`".to_owned())
        }
    }
}

/// The path of a file that need not be there.
pub(crate) fn file(text: &str) -> Result<PathBuf, String> {
    if text.contains(char::is_control) { Err("is no path of a file".to_owned()) } else { Ok(PathBuf::from(text)) }
}

/// `host:port`, with `https://` in front of it or `http://` or nothing.
pub(crate) fn server(text: &str) -> Result<String, String> {
    let bare = ["https://", "http://"].iter().find_map(|scheme| text.strip_prefix(scheme)).unwrap_or(text);
    host_and_port(bare).map(|_| text.to_owned())
}

/// `host:port`, without a scheme.
pub(crate) fn host_and_port(text: &str) -> Result<String, String> {
    let wrong = || "is not host:port".to_owned();
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let host_is_right = !host.is_empty() && host.bytes().all(|b| b.is_ascii_graphic() && !b"/@,".contains(&b));
    let port_is_right = port.parse::<u16>().is_ok_and(|port| port > 0);
    if host_is_right && port_is_right { Ok(text.to_owned()) } else { Err(wrong()) }
}

/// A name that Kafka takes for a topic; also right for a channel prefix.
pub(crate) fn topic(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if text.len() > 249 || !text.bytes().all(allowed) || text == "." || text == ".." {
        return Err("is not 1 to 249 bytes of [A-Za-z0-9._-]".to_owned());
    }
    Ok(text.to_owned())
}
