//! `nimbus config`: what is in force, and where it came from.

use std::io::{self, Write};

use comfy_table::{ContentArrangement, Table, presets};
use nimbus_config::{EffectiveSetting, Loaded, Scope};
use serde_json::{Value, json};

use super::ConfigArgs;
use crate::exit::{Exit, Failure, OrUnread};

pub(crate) fn show(loaded: &Loaded, args: &ConfigArgs) -> Result<Exit, Failure> {
    let text = if args.json { json_of(loaded) } else { table_of(loaded) };
    writeln!(io::stdout(), "{text}").or_unread()?;
    Ok(Exit::Done)
}

fn note(entry: &EffectiveSetting) -> &'static str {
    match entry.setting.scope {
        Scope::Server | Scope::Client => "",
        Scope::Distributed => "not used in embedded mode",
    }
}

fn table_of(loaded: &Loaded) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["SETTING", "VALUE", "FROM", ""]);
    for entry in &loaded.effective {
        let value = if entry.shown.is_empty() { "(not set)" } else { &entry.shown };
        table.add_row([entry.setting.name, value, entry.source.as_str(), note(entry)]);
    }
    table.trim_fmt()
}

fn json_of(loaded: &Loaded) -> String {
    let setting = |entry: &EffectiveSetting| {
        json!({
            "name": entry.setting.name,
            "value": if entry.shown.is_empty() { Value::Null } else { Value::from(entry.shown.as_str()) },
            "source": entry.source.as_str(),
            "default": entry.setting.default,
            "used": entry.setting.scope != Scope::Distributed,
        })
    };
    let settings: Vec<_> = loaded.effective.iter().map(setting).collect();
    let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    format!("{:#}", json!({ "settings": settings, "warnings": warnings }))
}
