//! An API server that has just started does not find parameters yet. Nothing forbidden gets in meanwhile; what is allowed
//! waits: how long is measured, from the moment in which the API server says that it is ready.

use std::time::{Duration, Instant};

use serde_json::json;
use sluicegate_e2e::Error;
use sluicegate_e2e::error::Result;

use crate::support::{IN_FORCE, Ward, in_force, install, number, on_own_plane, policy};

/// One start, in time since the process was begun.
struct Start {
    /// `/readyz` said ok.
    ready: Duration,
    /// The first allowed pod passed.
    passed: Duration,
    /// Allowed pods that were refused because the parameter's kind was not known.
    refused: usize,
}

impl Start {
    /// How long allowed pods were refused by an API server that was ready.
    fn window(&self) -> Duration {
        self.passed.saturating_sub(self.ready)
    }
}

/// Kills the API server, starts it again, and asks it until an allowed pod passes. No forbidden one may, at any moment.
async fn start(ward: &Ward) -> Result<Start> {
    let cluster = ward.space.cluster().expect("a cluster of the harness").clone();
    cluster.kill("kube-apiserver")?;
    let began = Instant::now();
    let (mut ready, mut refused) = (None, 0);
    loop {
        // The port may be taken for a moment by the one that was killed.
        cluster.start_again("kube-apiserver")?;
        let request = http::Request::get("/readyz").body(Vec::new()).expect("a request");
        if ready.is_none() && ward.client.request_text(request).await.is_ok_and(|said| said == "ok") {
            ready = Some(began.elapsed());
        }
        let forbidden = ward.tries(&ward.client, &ward.judge.pod("evil.example/x:1")).await;
        assert!(forbidden.is_err(), "it got in {:?} after the start", began.elapsed());
        match ward.tries(&ward.client, &ward.judge.pod("registry.example.com/x:1")).await {
            Ok(()) => {
                let passed = began.elapsed();
                return Ok(Start { ready: ready.unwrap_or(passed), passed, refused });
            }
            Err(why) if why.contains("paramKind") => refused += 1,
            Err(why) if began.elapsed() > IN_FORCE => {
                return Err(Error::Service { what: "what is allowed does not pass".into(), why });
            }
            Err(_) => {}
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn nothing_forbidden_gets_in_while_an_api_server_starts() {
    on_own_plane("guard-start", async |space| {
        install(&space).await?;
        let ward =
            Ward::new(&space, "team", &[policy(json!({"images": {"allow": ["registry.example.com/**"]}}))]).await?;
        in_force(&ward).await?;
        let mut windows = Vec::new();
        for round in 0..number(1, 10) {
            let start = start(&ward).await?;
            let (Start { ready, passed, refused }, window) = (&start, start.window());
            println!("start {round}: ready {ready:?}, {refused} refused, allowed {passed:?}, a window of {window:?}");
            windows.push(window);
        }
        windows.sort();
        println!("windows of {} starts: {windows:?}", windows.len());
        Ok(())
    });
}
