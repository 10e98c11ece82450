//! What tests look at: objects by name, conditions and Placements in words.

use super::World;
use super::words::lines;
use crate::snapshot::Key;
use crate::view;
use crds::*;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use serde_json::json;

impl World {
    pub(crate) fn service(&self, name: &str) -> &VirtualService {
        self.objects
            .virtual_services
            .iter()
            .find(|there| there.name_any() == name)
            .unwrap()
    }

    pub(crate) fn real_server(&self, name: &str) -> &RealServer {
        self.objects
            .real_servers
            .iter()
            .find(|there| there.name_any() == name)
            .unwrap()
    }

    /// `status reason: message` of a VirtualService's condition.
    pub(crate) fn said(&self, name: &str, type_: &str) -> String {
        said(&self.service(name).status.clone().unwrap_or_default().conditions, type_)
    }

    /// The same of a RealServer.
    pub(crate) fn said_of_real_server(&self, name: &str, type_: &str) -> String {
        said(
            &self.real_server(name).status.clone().unwrap_or_default().conditions,
            type_,
        )
    }

    /// `status reason: message` of a DirectorGroup's condition.
    pub(crate) fn said_of_group(&self, name: &str, type_: &str) -> String {
        let mut all = self.objects.director_groups.iter();
        let group = all.find(|there| there.name_any() == name).unwrap();
        said(&group.status.clone().unwrap_or_default().conditions, type_)
    }

    pub(crate) fn placement(&self, service: &str, node: &str) -> Option<&Placement> {
        let name = view::placement_name(&Key::new("shop", service), node);
        self.objects.placements.iter().find(|there| there.name_any() == name)
    }

    pub(crate) fn placement_mut(&mut self, service: &str, node: &str) -> &mut Placement {
        let name = view::placement_name(&Key::new("shop", service), node);
        self.objects
            .placements
            .iter_mut()
            .find(|there| there.name_any() == name)
            .unwrap()
    }

    /// All Placements, a line each entry, in a form that tests can read.
    pub(crate) fn placements(&self) -> String {
        let mut lines: Vec<String> = self.service_placements().into_iter().flat_map(lines).collect();
        lines.sort();
        lines.join("\n") + "\n"
    }

    /// The Placements of VirtualServices.
    pub(crate) fn service_placements(&self) -> Vec<&Placement> {
        let all = self.objects.placements.iter();
        all.filter(|there| there.spec.subject.kind == SubjectKind::VirtualService)
            .collect()
    }

    pub(crate) fn group_placement(&self, group: &str, node: &str) -> Option<&Placement> {
        let name = view::group_placement_name("lvs-system", group, node);
        self.objects.placements.iter().find(|there| there.name_any() == name)
    }

    pub(crate) fn group_placement_mut(&mut self, group: &str, node: &str) -> &mut Placement {
        let name = view::group_placement_name("lvs-system", group, node);
        let mut all = self.objects.placements.iter_mut();
        all.find(|there| there.name_any() == name).unwrap()
    }

    /// The Placements of DirectorGroups, a line each.
    pub(crate) fn group_placements(&self) -> String {
        let all = self.objects.placements.iter();
        let of_groups = all.filter(|there| there.spec.subject.kind == SubjectKind::DirectorGroup);
        let mut lines: Vec<String> = of_groups
            .map(|there| {
                let part = json!(there.spec.virtual_router);
                let namespace = there.metadata.namespace.as_deref().unwrap_or_default();
                format!(
                    "{namespace}/{}@{} {part}\n",
                    there.spec.subject.name, there.spec.node_name
                )
            })
            .collect();
        lines.sort();
        lines.concat()
    }
}

fn said(conditions: &[Condition], type_: &str) -> String {
    conditions::find(conditions, type_).map_or("not said".to_owned(), |said| {
        format!("{} {}: {}", said.status, said.reason, said.message)
    })
}
