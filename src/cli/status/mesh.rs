//! `qu status --mesh`: who hears whom, as each node says it.
//!
//! One line a node; its cells say how long ago it heard the node of that column. A node that does
//! not answer has `-` in every cell of its line: what the others say of it stands in its column.

use std::time::Duration;

use serde_json::Value;

use crate::base::text;
use crate::control::{Ask, Reply};
use crate::view::View;
use crate::view::mesh::{Contact, Mesh, MeshRow};

use super::super::{Failure, Session, ask, show};

/// Asks the daemon, which asks the peers.
pub fn fetch(session: &Session<'_>) -> Result<Mesh, Failure> {
    match ask::daemon(session, Ask::Mesh)? {
        Reply::Mesh(mesh) => Ok(*mesh),
        other => Err(ask::unexpected(&other)),
    }
}

/// The picture as JSON, with the mesh in it.
pub fn json(view: &View, mesh: &Mesh) -> Result<Value, Failure> {
    let mut whole = serde_json::to_value(view).map_err(|e| Failure::of(&e))?;
    if let Value::Object(fields) = &mut whole {
        fields.insert("mesh".to_owned(), serde_json::to_value(mesh).map_err(|e| Failure::of(&e))?);
    }
    Ok(whole)
}

/// The blocks MESH, NONSENSE and SILENT; the latter two when there is something in them.
pub fn render(mesh: &Mesh) -> Vec<String> {
    let blocks = [Some(matrix(mesh)), nonsense(mesh), silent(mesh)];
    blocks.into_iter().flatten().collect()
}

fn matrix(mesh: &Mesh) -> String {
    let mut head =
        vec!["NODE_ID", "ADVERTISE", "VERSION", "CLOCK", "NONSENSE"].into_iter().map(str::to_owned);
    let mut head: Vec<String> = head.by_ref().collect();
    head.extend(mesh.rows.iter().map(|r| r.node_id.short()));
    let row = |r: &MeshRow| {
        let mut cells = vec![
            r.node_id.to_string(),
            r.advertise.to_string(),
            r.says.as_ref().map_or_else(|| "-".to_owned(), |s| show::cell(&s.version)),
            r.clock_offset_ms.map_or_else(|| "-".to_owned(), clock),
            spoken_to(mesh, r),
        ];
        cells.extend(mesh.rows.iter().map(|column| cell(r, column)));
        cells
    };
    let rows: Vec<_> = mesh.rows.iter().map(row).collect();
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    format!("MESH\n{}", text::table(&head, &rows))
}

/// How often the others say that this node spoke nonsense to them.
fn spoken_to(mesh: &Mesh, row: &MeshRow) -> String {
    let claims = mesh.rows.iter().filter(|r| r.node_id != row.node_id).filter_map(|r| r.says.as_ref());
    let told = claims.filter_map(|c| c.of(row.node_id)).map(|c| c.nonsense);
    told.fold(0, u64::saturating_add).to_string()
}

fn clock(ms: i64) -> String {
    format!("{ms:+}ms")
}

/// What the node of the line says of the node of the column.
fn cell(row: &MeshRow, column: &MeshRow) -> String {
    if row.node_id == column.node_id {
        return "self".to_owned();
    }
    row.says.as_ref().and_then(|s| s.of(column.node_id)).map_or_else(|| "-".to_owned(), heard)
}

fn heard(contact: &Contact) -> String {
    let age = contact.heard_ms.map(|ms| text::about(Duration::from_millis(ms)));
    match (age, contact.live) {
        (None, _) => "never".to_owned(),
        (Some(age), true) => age,
        (Some(age), false) => format!("lost:{age}"),
    }
}

fn nonsense(mesh: &Mesh) -> Option<String> {
    let mut rows = Vec::new();
    for row in &mesh.rows {
        for contact in row.says.iter().flat_map(|s| &s.peers).filter(|c| c.nonsense > 0) {
            rows.push(vec![
                contact.node_id.to_string(),
                row.node_id.to_string(),
                contact.nonsense.to_string(),
                show::time(contact.last_nonsense_at),
                show::maybe(contact.last_nonsense.as_ref()),
            ]);
        }
    }
    let head = ["NODE_ID", "SAID_BY", "COUNT", "LAST", "WHAT"];
    (!rows.is_empty()).then(|| format!("NONSENSE\n{}", text::table(&head, &rows)))
}

fn silent(mesh: &Mesh) -> Option<String> {
    let silent = mesh.rows.iter().filter(|r| r.says.is_none());
    let rows: Vec<_> = silent.map(|r| vec![r.node_id.to_string(), show::maybe(r.silent.as_ref())]).collect();
    (!rows.is_empty()).then(|| format!("SILENT\n{}", text::table(&["NODE_ID", "WHY"], &rows)))
}
