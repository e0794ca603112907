//! Why the broker or its topics cannot be used.

use rdkafka::{error::KafkaError, types::RDKafkaErrorCode};

/// Why brokers do not let a client in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// They do not know the user, or the password is another one.
    #[error("kafka does not accept the user or the password")]
    Credentials,
    /// TLS failed: mostly the authority that signed the brokers' certificates is not known.
    #[error("kafka's certificate is not trusted, or TLS failed in another way")]
    Tls,
    /// Nothing was understood: TLS without TLS, or the other way round.
    #[error("kafka speaks another protocol there")]
    Protocol,
}

impl Refusal {
    /// What it is, if it is one: of an error and what librdkafka says about it.
    pub(crate) fn of(code: RDKafkaErrorCode, reason: &str) -> Option<Self> {
        match code {
            RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed => Some(Self::Credentials),
            RDKafkaErrorCode::SSL => {
                let strange = ["wrong version number", "packet length too long", "record layer failure"];
                let is_no_tls = strange.iter().any(|words| reason.contains(words));
                Some(if is_no_tls { Self::Protocol } else { Self::Tls })
            }
            // librdkafka's guess, from the moment at which the broker hung up.
            _ if reason.contains("connecting to a PLAINTEXT broker listener") => Some(Self::Protocol),
            _ => None,
        }
    }

    /// Whether a line of librdkafka's log says that the broker hung up on the first words that it heard: it waits for TLS. That is
    /// not told as an error.
    pub(crate) fn is_silence(facility: &str, line: &str) -> bool {
        facility == "FAIL" && line.contains("Disconnected") && line.contains("in state APIVERSION_QUERY")
    }

    /// What to do about it.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Credentials => "correct sasl.mechanism, sasl.username and sasl.password",
            Self::Tls => {
                "let ssl.ca.location name the certificate of the authority that signed the brokers' certificates"
            }
            Self::Protocol => "correct security.protocol (SSL or SASL_SSL where the port speaks TLS), or the port",
        }
    }
}

/// Why the broker or its topics cannot be used. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A setting is out of its range.
    #[error("the configuration of kafka cannot work: {0}")]
    Config(String),
    /// A property was to be overridden that a guarantee rests on.
    #[error("the property {name} is not free to choose, because a guarantee of nimbus rests on it; remove it")]
    Property {
        /// Which.
        name: String,
    },
    /// The brokers did not answer. Retryable.
    #[error("kafka cannot be reached to {doing}: {source}; check the brokers' addresses and the security properties")]
    Unreachable {
        /// What was to be done.
        doing: String,
        /// What librdkafka said.
        source: KafkaError,
    },
    /// The brokers do not let this client in.
    #[error("{refusal}, to {doing}: {why}; {}", refusal.remedy())]
    NotLetIn {
        /// What was to be done.
        doing: String,
        /// What is wrong.
        refusal: Refusal,
        /// What librdkafka said.
        why: String,
    },
    /// The broker refused.
    #[error("kafka refused to {doing}: {why}")]
    Refused {
        /// What was to be done.
        doing: String,
        /// What the broker said.
        why: String,
    },
    /// A topic is not there, and was not to be made.
    #[error("the topic {topic} does not exist; start a role of nimbus, which makes it, or create it yourself")]
    Missing {
        /// Which topic.
        topic: String,
    },
    /// The topics have another number of partitions than the configuration says.
    #[error(
        "the topics have {found} partitions, the configuration says {wanted}; set it to {found}, or name new topics \
         (records would change their partition, and so their order)"
    )]
    Partitions {
        /// What the topics have.
        found: u32,
        /// What the configuration says.
        wanted: u32,
    },
    /// The topics do not have the same number of partitions.
    #[error(
        "the events topic has {events} partitions, the results topic {results}, the dead letters topic {dead_letters}; \
         all three need the same number: name new topics for those that differ"
    )]
    Unequal {
        /// Partitions of the events topic.
        events: u32,
        /// Partitions of the results topic.
        results: u32,
        /// Partitions of the dead letters topic.
        dead_letters: u32,
    },
    /// A topic forgets records by their key.
    #[error(
        "the topic {topic} has cleanup.policy={policy}, which deletes all but the newest record of each client; set it \
         to delete"
    )]
    Compacted {
        /// Which topic.
        topic: String,
        /// Its policy.
        policy: String,
    },
    /// What stands where the epoch should stand was not written by nimbus.
    #[error("the group {group} keeps {found:?} where the epoch of the logs should be; delete that group")]
    Epoch {
        /// The group that keeps the epoch.
        group: String,
        /// What was found.
        found: String,
    },
    /// The operating system refused a thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

#[cfg(test)]
mod tests {
    use RDKafkaErrorCode as Code;

    use super::*;

    #[test]
    fn librdkafkas_words_are_understood_and_a_broker_that_is_away_is_no_refusal() {
        let cases = [
            (Code::Authentication, "SASL authentication error: invalid credentials", Some(Refusal::Credentials)),
            (Code::SSL, "SSL handshake failed: certificate verify failed: broker certificate", Some(Refusal::Tls)),
            (
                Code::SSL,
                "SSL handshake failed: error:0A00010B:SSL routines::wrong version number",
                Some(Refusal::Protocol),
            ),
            (
                Code::BrokerTransportFailure,
                "SSL handshake failed: Disconnected: connecting to a PLAINTEXT broker listener?",
                Some(Refusal::Protocol),
            ),
            (Code::BrokerTransportFailure, "Connect to ipv4#127.0.0.1:1 failed: Connection refused", None),
            (Code::AllBrokersDown, "1/1 brokers are down", None),
        ];
        for (code, reason, expected) in cases {
            assert_eq!(Refusal::of(code, reason), expected, "{reason}");
        }
        let hung_up =
            |state: &str| Refusal::is_silence("FAIL", &format!("b:1: Disconnected (after 3ms in state {state})"));
        assert!(hung_up("APIVERSION_QUERY") && !hung_up("UP"));
    }
}
