//! An API server that has just started does not find parameters yet. Nothing forbidden gets in meanwhile; what is allowed
//! waits.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{IN_FORCE, Ward, in_force, install, number, on_own_plane, policy};

#[test]
fn nothing_forbidden_gets_in_while_an_api_server_starts() {
    on_own_plane("guard-start", async |space| {
        install(&space).await?;
        let ward =
            Ward::new(&space, "team", &[policy(json!({"images": {"allow": ["registry.example.com/**"]}}))]).await?;
        in_force(&ward).await?;
        let cluster = space.cluster().expect("a cluster of the harness").clone();
        for round in 0..number(1, 3) {
            cluster.kill("kube-apiserver")?;
            let began = Instant::now();
            let (mut answered, mut passed) = (None, None);
            while passed.is_none() {
                // The port may be taken for a moment by the one that was killed.
                cluster.start_again("kube-apiserver")?;
                assert!(began.elapsed() < IN_FORCE, "what is allowed does not pass");
                let forbidden = ward.tries(&ward.client, &ward.judge.pod("evil.example/x:1")).await;
                assert!(forbidden.is_err(), "it got in {:?} after the start", began.elapsed());
                let allowed = ward.tries(&ward.client, &ward.judge.pod("registry.example.com/x:1")).await;
                match allowed {
                    Ok(()) => passed = Some(began.elapsed()),
                    Err(why) if why.contains("denied request") || why.contains("forbidden") => {
                        answered.get_or_insert_with(|| (began.elapsed(), why));
                    }
                    Err(_) => {}
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            println!("start {round}: refused first {answered:?}, allowed after {passed:?}");
        }
        Ok(())
    });
}
