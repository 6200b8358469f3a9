use std::future::{pending, ready};

use super::*;

fn reason(judged: &Judged) -> DenyReason {
    match &judged.verdict {
        Verdict::Deny(denial) => denial.reason,
        Verdict::Allow(_) => panic!("allowed"),
    }
}

#[tokio::test]
async fn p02_whatever_goes_wrong_ends_in_a_refusal_of_its_own() {
    let deadline = Duration::from_millis(20);
    let panics_at_once = bounded(deadline, async { panic!("at once") }).await;
    let panics_later = bounded(deadline, async {
        tokio::task::yield_now().await;
        panic!("later")
    });
    assert_eq!(reason(&panics_at_once), DenyReason::Internal);
    assert_eq!(reason(&panics_later.await), DenyReason::Internal);
    assert_eq!(reason(&bounded(deadline, ready(Judged::deny(DenyReason::NoPolicy))).await), DenyReason::NoPolicy);

    let started = std::time::Instant::now();
    assert_eq!(reason(&bounded(deadline, pending()).await), DenyReason::StoreUnavailable);
    assert!(started.elapsed() >= deadline);
}
