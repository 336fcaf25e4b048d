//! prints
fn main() {
    let items: Vec<_> = sluicegate_policy::guard::manifests().into_iter().flat_map(|d| d.manifests).collect();
    println!("{}", serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items}));
}
