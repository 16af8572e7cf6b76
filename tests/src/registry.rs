//! The reference OCI registry (CNCF distribution) as a child process: once over TLS as the
//! public upstreams, once as the blob store behind the ECR gate.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use crate::pki::PairFiles;
use crate::process::{self, Child, Spec};

/// User and password of a registry that asks for them.
pub const LOGIN: (&str, &str) = ("mirror", "mirror-sandbox-password");
/// [`LOGIN`] as a line of a password file.
const HTPASSWD: &str = "mirror:$2b$05$abcdefghijklmnopqrstuusdljzOm13loIhKfg1VBGV7McH3jYRk2\n";
const READY: Duration = Duration::from_secs(30);

/// How a registry is set up.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Name for messages and the log file.
    pub name: String,
    /// Serve https with this certificate.
    pub tls: Option<PairFiles>,
    /// Ask for Basic credentials: [`LOGIN`].
    pub login: bool,
    /// Where the data is; `dir/NAME` when absent.
    pub data: Option<PathBuf>,
    /// Write a line into the log for every answered request.
    pub access_log: bool,
}

/// A running registry.
pub struct Registry {
    /// Its base URL, without a path.
    pub url: String,
    child: Child,
}

impl Registry {
    /// Starts `program` with its data in `dir/NAME` and waits until it answers.
    /// `client` must trust the certificate.
    ///
    /// # Errors
    /// When it ends or does not answer in time; carries the end of its log.
    pub async fn start(
        program: &Path,
        dir: &Path,
        options: &Options,
        client: &reqwest::Client,
    ) -> Result<Self> {
        let port = process::free_port()?;
        let own = || dir.join(&options.name);
        let root = options.data.clone().unwrap_or_else(own);
        fs::create_dir_all(&root).with_context(|| format!("cannot create {}", root.display()))?;
        let config = dir.join(format!("{}.yaml", options.name));
        let passwords = dir.join(format!("{}.htpasswd", options.name));
        fs::write(&passwords, HTPASSWD)?;
        // JSON is YAML: nothing to escape by hand.
        fs::write(
            &config,
            configuration(port, &root, &passwords, options).to_string(),
        )
        .with_context(|| format!("cannot write {}", config.display()))?;
        let mut child = Spec::new(&options.name, program, &dir.join("logs"))
            .arg("serve")
            .arg(&config)
            .env("OTEL_TRACES_EXPORTER", "none")
            .start()?;
        let scheme = if options.tls.is_some() {
            "https"
        } else {
            "http"
        };
        let url = format!("{scheme}://127.0.0.1:{port}");
        let probe = format!("{url}/v2/");
        // Any answer will do: with a password file it is 401.
        child
            .ready(READY, async || Ok(client.get(&probe).send().await?))
            .await?;
        Ok(Self { url, child })
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Its log.
    #[must_use]
    pub fn log(&self) -> &Path {
        self.child.log()
    }
}

fn configuration(port: u16, root: &Path, passwords: &Path, options: &Options) -> serde_json::Value {
    let mut config = json!({
        "version": "0.1",
        "log": {"level": "warn", "accesslog": {"disabled": !options.access_log}},
        "storage": {
            "filesystem": {"rootdirectory": root, "maxthreads": 64},
            "delete": {"enabled": true},
            // Seeding removes and re-creates tags: a cached answer would outlive them.
            "maintenance": {"uploadpurging": {"enabled": false}},
        },
        "http": {"addr": format!("127.0.0.1:{port}"), "relativeurls": true},
    });
    if let Some(tls) = &options.tls {
        config["http"]["tls"] = json!({"certificate": tls.cert, "key": tls.key});
    }
    if options.login {
        config["auth"] = json!({"htpasswd": {"realm": "castlink-sandbox", "path": passwords}});
    }
    config
}
