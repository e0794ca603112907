//! The scripts. Small steps of compare and set: what is right was decided by the rules in `nimbus_core::mailbox`, and a
//! script only writes it if nothing that it was decided on has changed.
//!
//! A script is known by the hash of its text, so builds of different versions never run each other's. What several of them
//! need stands once, in `scripts/shared`, and is put behind the first line of each.

use fred::util::sha1_hash;

/// One script.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) name: &'static str,
    pub(crate) text: String,
    pub(crate) hash: String,
}

macro_rules! scripts {
    ($($name:ident $(($($shared:ident)+))?)+) => {
        /// All of them, with their hashes.
        #[derive(Debug)]
        pub(crate) struct Scripts {
            $(pub(crate) $name: Script,)+
        }

        impl Scripts {
            pub(crate) fn new() -> Self {
                Self { $($name: {
                    let own = include_str!(concat!("scripts/", stringify!($name), ".lua"));
                    let shared = concat!($($(include_str!(concat!("scripts/shared/", stringify!($shared), ".lua")),)+)?);
                    let text = with_shared(own, shared);
                    Script { name: stringify!($name), hash: sha1_hash(&text), text }
                },)+ }
            }

            pub(crate) fn all(&self) -> Vec<&Script> {
                vec![$(&self.$name),+]
            }
        }

        /// Their names, for metrics.
        pub(crate) const NAMES: &[&str] = &[$(stringify!($name)),+];
    };
}

scripts! { ack(cut) apply(cut stale) begin claim forget holder load mend read release skip trim(cut stale) }

/// The first line of a script says how it is run, and must stay the first.
fn with_shared(own: &str, shared: &str) -> String {
    let (how, rest) = own.split_once('\n').unwrap_or((own, ""));
    format!("{how}\n{shared}{rest}")
}
