//! Who is owed a message about a check.

use crate::base::id::AlertId;
use crate::config::{Alert, Check, Cluster};

/// Whether `alert` is told about `check`: it is one of the check's own or a default one, is not
/// suppressed, and both are enabled. Suppressing wins over everything.
#[must_use]
pub fn routed(check: &Check, alert: &Alert) -> bool {
    check.enabled
        && alert.enabled
        && (alert.default || check.alert_ids.contains(&alert.id))
        && !check.suppress_alert_ids.contains(&alert.id)
}

/// The alerts that are told about `check`, in order of id.
#[must_use]
pub fn route(cluster: &Cluster, check: &Check) -> Vec<AlertId> {
    cluster.alerts.values().filter(|alert| routed(check, alert)).map(|alert| alert.id).collect()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{alert, check, cluster};
    use super::*;
    use std::collections::BTreeSet;
    use std::sync::Arc;

    #[test]
    fn own_and_default_alerts_are_told_unless_suppressed_or_disabled() {
        let (own, default) = (alert(1), Alert { default: true, ..alert(2) });
        let (other, off) = (alert(3), Alert { default: true, enabled: false, ..alert(4) });
        let mut world = cluster(1);
        for a in [&own, &default, &other, &off] {
            world.alerts.insert(a.id, Arc::new(a.clone()));
        }
        let plain = Check { alert_ids: BTreeSet::from([own.id]), ..check(1) };
        assert_eq!(route(&world, &plain), [own.id, default.id]);
        let quiet = Check { suppress_alert_ids: BTreeSet::from([default.id, own.id]), ..plain.clone() };
        assert!(route(&world, &quiet).is_empty());
        assert!(route(&world, &Check { enabled: false, ..plain }).is_empty());
    }
}
