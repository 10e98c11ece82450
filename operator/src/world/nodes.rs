//! Nodes: they come and go, are labelled, and boot.

use super::World;
use crate::snapshot::NodeFacts;
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;

impl World {
    pub(crate) fn node(&mut self, name: &str, ip: &str) {
        let text = format!(
            "metadata: {{name: {name}, uid: uid-{name}, labels: {{}}}}\nspec: {{}}\n\
             status: {{addresses: [{{type: InternalIP, address: {ip}}}]}}"
        );
        self.objects.nodes.push(serde_yaml::from_str(&text).unwrap());
        self.boots.insert(name.to_owned(), format!("boot-{name}"));
    }

    pub(crate) fn remove_node(&mut self, name: &str) {
        self.objects.nodes.retain(|node| node.name_any() != name);
    }

    pub(crate) fn label(&mut self, node: &str, key: &str, value: Option<&str>) {
        let labels = self.node_mut(node).metadata.labels.get_or_insert_default();
        match value {
            Some(value) => labels.insert(key.to_owned(), value.to_owned()),
            None => labels.remove(key),
        };
    }

    pub(crate) fn taint_out_of_service(&mut self, node: &str) {
        let taint = serde_yaml::from_str("{key: node.kubernetes.io/out-of-service, effect: NoExecute}").unwrap();
        self.node_mut(node).spec.get_or_insert_default().taints = Some(vec![taint]);
    }

    fn node_mut(&mut self, name: &str) -> &mut Node {
        let mut nodes = self.objects.nodes.iter_mut();
        nodes.find(|there| there.name_any() == name).unwrap()
    }

    /// A node boots: its kernel is empty, and its agent has not started yet.
    pub(crate) fn reboot(&mut self, node: &str, boot: &str) {
        self.boots.insert(node.to_owned(), boot.to_owned());
    }

    pub(super) fn internal_ips(&self, node: &str) -> Vec<String> {
        let mut nodes = self.objects.nodes.iter();
        let node = nodes.find(|there| there.name_any() == node);
        let facts = node.map(NodeFacts::from).unwrap_or_default();
        facts.internal_ips.iter().map(ToString::to_string).collect()
    }
}
