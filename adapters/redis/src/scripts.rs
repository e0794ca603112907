//! The scripts. Small steps of compare and set: what is right was decided by the rules in `nimbus_core::mailbox`, and a
//! script only writes it if nothing that it was decided on has changed.
//!
//! A script is known by the hash of its text, so builds of different versions never run each other's.

use fred::util::sha1_hash;

/// One script.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) name: &'static str,
    pub(crate) text: &'static str,
    pub(crate) hash: String,
}

macro_rules! scripts {
    ($($name:ident)+) => {
        /// All of them, with their hashes.
        #[derive(Debug)]
        pub(crate) struct Scripts {
            $(pub(crate) $name: Script,)+
        }

        impl Scripts {
            pub(crate) fn new() -> Self {
                Self { $($name: {
                    let text = include_str!(concat!("scripts/", stringify!($name), ".lua"));
                    Script { name: stringify!($name), text, hash: sha1_hash(text) }
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

scripts! { ack apply begin claim forget holder load mend read release skip trim }
