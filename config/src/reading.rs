//! Takes settings out of an environment one by one and gathers what is wrong with them.
//!
//! A setting that is wrong stands in with its default, so that the reading goes on and all problems come out at once; the
//! stand-in never leaves this crate, because [`Reading::finish`] then fails.

use crate::{
    effective::EffectiveSetting,
    environment::{Environment, Source, Value},
    problem::{ConfigError, Problem, Warning},
    setting::{Display, Setting},
};

/// Longest piece of a wrong value that is shown.
const SHOWN_BYTES: usize = 60;

#[derive(Debug)]
pub(crate) struct Reading<'a> {
    environment: &'a Environment,
    problems: Vec<Problem>,
    warnings: Vec<Warning>,
    effective: Vec<EffectiveSetting>,
}

impl<'a> Reading<'a> {
    pub(crate) fn new(environment: &'a Environment) -> Self {
        let problems = environment.problems().to_vec();
        Self { environment, problems, warnings: Vec::new(), effective: Vec::new() }
    }

    pub(crate) fn environment(&self) -> &'a Environment {
        self.environment
    }

    /// The value of a setting that has a default.
    pub(crate) fn value<T>(
        &mut self,
        setting: &'static Setting,
        raw: Option<String>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        let given = self.optional(setting, raw, &parse);
        given.unwrap_or_else(|| parse(setting.default).expect("a test parses every default"))
    }

    /// The value of a setting that may be missing. Empty text is "not set".
    pub(crate) fn optional<T>(
        &mut self,
        setting: &'static Setting,
        raw: Option<String>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let found = self.environment.get(setting.name);
        if let Some((Value::NotUnicode, _)) = found {
            self.problem(setting, "its value is not UTF-8".to_owned());
            return None;
        }
        // Files and copy-and-paste leave a line break behind that nobody sees.
        let text = raw.as_deref().map(str::trim).filter(|text| !text.is_empty());
        let (shown, source) = match (text, found) {
            (Some(text), Some((_, source))) => (setting.shown(text), *source),
            _ => (setting.default.to_owned(), Source::Default),
        };
        self.effective.push(EffectiveSetting { setting, shown, source });
        match parse(text?) {
            Ok(value) => Some(value),
            Err(wrong) => {
                let value = excerpt(&setting.shown(text?));
                let wrong = match setting.display {
                    Display::Secret => wrong,
                    Display::Plain | Display::Address => format!("{value:?} {wrong}"),
                };
                self.problem(setting, wrong);
                None
            }
        }
    }

    /// Reports those of these settings that are set to nothing. Elsewhere that is the same as not set.
    pub(crate) fn refuse_empty(&mut self, settings: &[&Setting]) {
        for setting in settings {
            if matches!(self.environment.get(setting.name), Some((Value::Text(text), _)) if text.trim().is_empty()) {
                self.problem(setting, "is set but empty".to_owned());
            }
        }
    }

    /// Whether none of these settings is wrong by itself, so that comparing them makes sense.
    pub(crate) fn are_sound(&self, settings: &[&Setting]) -> bool {
        !self.problems.iter().any(|problem| settings.iter().any(|setting| setting.name == problem.name))
    }

    /// Reports that a setting is wrong.
    pub(crate) fn problem(&mut self, setting: &Setting, wrong: String) {
        self.problem_with_remedy(setting, wrong, format!("give for example {}={}", setting.name, setting.example));
    }

    pub(crate) fn problem_with_remedy(&mut self, setting: &Setting, wrong: String, remedy: String) {
        self.problems.push(Problem { name: setting.name.to_owned(), wrong, remedy });
    }

    pub(crate) fn unknown(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    pub(crate) fn warn(&mut self, name: impl Into<String>, message: impl Into<String>) {
        self.warnings.push(Warning { name: name.into(), message: message.into() });
    }

    /// Hands `value` over if nothing was wrong.
    pub(crate) fn finish<T>(self, value: T) -> Result<(T, Vec<Warning>, Vec<EffectiveSetting>), ConfigError> {
        let order = |name: &str| crate::settings().position(|setting| setting.name == name);
        let mut problems = self.problems;
        problems.sort_by_key(|problem| order(&problem.name).unwrap_or(usize::MAX));
        let mut effective = self.effective;
        effective.sort_by_key(|entry| order(entry.setting.name));
        if problems.is_empty() { Ok((value, self.warnings, effective)) } else { Err(ConfigError { problems }) }
    }
}

fn excerpt(text: &str) -> String {
    match text.char_indices().map(|(index, _)| index).find(|index| *index >= SHOWN_BYTES) {
        Some(end) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
