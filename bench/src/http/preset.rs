//! Presets: kinds of servers whose addresses and formats are known. The options of a target override each part.

/// A kind of server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Preset {
    /// Pipecast.
    Pipecast,
    /// Nchan, with locations for publishing and for `EventSource`.
    Nchan,
    /// Mercure, with anonymous subscribers.
    Mercure,
    /// Centrifugo, with `uni_sse`.
    Centrifugo,
}

/// Where a kind of server has its streams, and how it accepts events.
pub(super) struct Templates {
    pub(super) stream_url: &'static str,
    pub(super) publish_url: &'static str,
    pub(super) publish_type: &'static str,
    /// For several events per request, one per line; none where the server accepts only one.
    pub(super) batch_type: Option<&'static str>,
    pub(super) event: &'static str,
}

impl Preset {
    /// All presets.
    pub const ALL: [Self; 4] = [Self::Pipecast, Self::Nchan, Self::Mercure, Self::Centrifugo];

    /// Its name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pipecast => "pipecast",
            Self::Nchan => "nchan",
            Self::Mercure => "mercure",
            Self::Centrifugo => "centrifugo",
        }
    }

    /// Whether this status acknowledges a publish. A node answers 202 and nothing else; any other success came from something
    /// else, such as the page behind a redirect.
    pub(super) fn acknowledges(self, status: u16) -> bool {
        match self {
            Self::Pipecast => status == 202,
            Self::Nchan | Self::Mercure | Self::Centrifugo => (200..300).contains(&status),
        }
    }

    pub(super) fn templates(self) -> Templates {
        match self {
            Self::Pipecast => Templates {
                stream_url: "{url}/pipelines/{pipeline}/sse",
                publish_url: "{url}/pipelines/{pipeline}/events",
                publish_type: "application/json",
                batch_type: Some("application/x-ndjson"),
                event: r#"{"channel":"bench","payload":"{payload}"}"#,
            },
            Self::Nchan => Templates {
                stream_url: "{url}/sub/{pipeline}",
                publish_url: "{url}/pub/{pipeline}",
                publish_type: "application/json",
                batch_type: None,
                event: r#""{payload}""#,
            },
            Self::Mercure => Templates {
                stream_url: "{url}/.well-known/mercure?topic={pipeline}",
                publish_url: "{url}/.well-known/mercure",
                publish_type: "application/x-www-form-urlencoded",
                batch_type: None,
                event: "topic={pipeline}&data=%22{payload}%22",
            },
            // {"subs":{"<pipeline>":{}}}
            Self::Centrifugo => Templates {
                stream_url: "{url}/connection/uni_sse?cf_connect=%7B%22subs%22:%7B%22{pipeline}%22:%7B%7D%7D%7D",
                publish_url: "{url}/api/publish",
                publish_type: "application/json",
                batch_type: None,
                event: r#"{"channel":"{pipeline}","data":"{payload}"}"#,
            },
        }
    }
}
