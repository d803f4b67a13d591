//! `UPDATE_AND_CREATE_SUBSCRIPTIONGROUP` (200), `GET_ALL_SUBSCRIPTIONGROUP_CONFIG` (201),
//! `DELETE_SUBSCRIPTIONGROUP` (207), `UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST` (225) and
//! `UPDATE_AND_GET_GROUP_FORBIDDEN` (353).
//!
//! Reference: `AdminBrokerProcessor` (broker), 5.5.0.

use std::sync::Arc;

use oxmq_protocol::body::{GroupForbidden, SubscriptionGroupConfig, SubscriptionGroupList};
use oxmq_protocol::command::CommandView;
use oxmq_protocol::fastjson;
use oxmq_protocol::header::{
    DeleteSubscriptionGroupRequestHeader, GetAllSubscriptionGroupRequestHeader,
    GetAllSubscriptionGroupResponseHeader, Header as _, UpdateGroupForbiddenRequestHeader,
};

use super::page::Page;
use super::{Answer, success, success_with};
use crate::config::BrokerConfig;
use crate::consumer_offset::ConsumerOffsetManager;
use crate::error::RequestError;
use crate::limits::MAX_QUEUES_PER_TOPIC;
use crate::pop::lite::is_lite_group;
use crate::subscription_group::{FORBIDDEN_INDEX_READABLE, SubscriptionGroupManager};
use crate::topic_validator;

/// Lets tools see and change consumer groups.
#[derive(Debug)]
pub(crate) struct SubscriptionGroups {
    config: Arc<BrokerConfig>,
    groups: Arc<SubscriptionGroupManager>,
    offsets: Arc<ConsumerOffsetManager>,
}

impl SubscriptionGroups {
    pub(crate) fn new(
        config: Arc<BrokerConfig>,
        groups: Arc<SubscriptionGroupManager>,
        offsets: Arc<ConsumerOffsetManager>,
    ) -> Self {
        Self { config, groups, offsets }
    }

    /// Creates or changes a group.
    pub(crate) fn update(&self, request: &CommandView<'_>) -> Answer {
        if request.body.is_empty() {
            return Ok(success());
        }
        let group: SubscriptionGroupConfig = fastjson::from_slice(request.body)?;
        check(&group)?;
        self.groups.update(group).map_err(RequestError::Unchangeable)?;
        Ok(success())
    }

    /// Creates or changes groups, if all of them may be.
    pub(crate) fn update_list(&self, request: &CommandView<'_>) -> Answer {
        let SubscriptionGroupList { group_config_list } = fastjson::from_slice(request.body)?;
        group_config_list.iter().try_for_each(check)?;
        for group in group_config_list {
            self.groups.update(group).map_err(RequestError::Unchangeable)?;
        }
        Ok(success())
    }

    /// Lets a group consume a topic or not, if asked to, and answers whether it may.
    pub(crate) fn forbidden(&self, request: &CommandView<'_>) -> Answer {
        let UpdateGroupForbiddenRequestHeader { group, topic, readable } =
            UpdateGroupForbiddenRequestHeader::decode(request)?;
        if let Some(readable) = readable {
            if !readable {
                topic_validator::validate_group(&group)?;
                topic_validator::validate_topic(&topic)?;
            }
            self.groups
                .set_forbidden(&group, &topic, FORBIDDEN_INDEX_READABLE, !readable)
                .map_err(RequestError::Unchangeable)?;
        }
        let readable = !self.groups.is_forbidden(&group, &topic, FORBIDDEN_INDEX_READABLE);
        success_with(&GroupForbidden { group, topic, readable })
    }

    /// Answers with all groups or a page of them.
    pub(crate) fn get_all(&self, request: &CommandView<'_>) -> Answer {
        let header = GetAllSubscriptionGroupRequestHeader::decode(request)?;
        let mut groups = self.groups.snapshot();
        let total = groups.subscription_group_table.len();
        let page = Page::asked(
            &self.config,
            (header.group_seq, header.data_version.as_deref(), header.max_group_num),
            groups.data_version,
        );
        if let Some(page) = page {
            page.cut(&mut groups.subscription_group_table);
            let kept = &groups.subscription_group_table;
            groups.forbidden_table.retain(|group, _| kept.contains_key(group));
        }
        let header = GetAllSubscriptionGroupResponseHeader {
            total_group_num: i32::try_from(total).unwrap_or(i32::MAX),
        };
        Ok(success_with(&groups)?.with_header(&header))
    }

    /// Removes a group, and its offsets if asked to.
    pub(crate) fn delete(&self, request: &CommandView<'_>) -> Answer {
        let header = DeleteSubscriptionGroupRequestHeader::decode(request)?;
        let is_lite =
            self.groups.get(&header.group_name).is_some_and(|group| is_lite_group(&group));
        self.groups.delete(&header.group_name);
        if header.clean_offset || is_lite {
            self.offsets.remove_group(&header.group_name);
        }
        Ok(success())
    }
}

/// Whether a group may be as a tool asks for. Its retry topic gets the queues that it says.
fn check(group: &SubscriptionGroupConfig) -> Result<(), RequestError> {
    topic_validator::validate_group(&group.group_name)?;
    let (value, limit) = (group.retry_queue_nums, MAX_QUEUES_PER_TOPIC);
    if value > limit {
        return Err(RequestError::QueueNums { what: "retryQueueNums", value, limit });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use oxmq_protocol::body::SubscriptionGroupWrapper;
    use oxmq_protocol::ext_fields::Fields;

    use super::super::testing::{Managers, body, managers, request, with_view};
    use super::*;

    fn processor(m: &Managers) -> SubscriptionGroups {
        SubscriptionGroups::new(
            Arc::clone(&m.config),
            Arc::clone(&m.groups),
            Arc::clone(&m.offsets),
        )
    }

    fn list(m: &Managers, fields: &[(&str, &str)]) -> (Vec<String>, String) {
        let answer = with_view(&request(fields), |view| processor(m).get_all(view)).unwrap();
        let groups: SubscriptionGroupWrapper = fastjson::from_slice(&answer.body).unwrap();
        let total = answer.ext_fields.get("totalGroupNum").unwrap().into_owned();
        (groups.subscription_group_table.into_keys().collect(), total)
    }

    #[test]
    fn group_is_created_listed_and_deleted_with_its_offsets() {
        let m = managers(|_| ());
        let update = |body: &str| {
            let request = request(&[]).with_body(body.as_bytes().to_vec());
            with_view(&request, |view| processor(&m).update(view))
        };
        update(r#"{"groupName":"g","retryMaxTimes":3}"#).unwrap();
        assert_eq!(m.groups.get("g").unwrap().retry_max_times, 3);
        let refused = update(r#"{"groupName":"a/b"}"#).unwrap_err();
        assert_eq!(refused.response_code().0, 29);
        assert!(list(&m, &[]).0.contains(&"g".to_owned()));

        m.offsets.commit("g", "t", 0, 5);
        let delete = |fields: &[(&str, &str)]| {
            with_view(&request(fields), |view| processor(&m).delete(view)).unwrap()
        };
        delete(&[("groupName", "g")]);
        assert!(m.groups.get("g").is_none());
        assert_eq!(m.offsets.query("g", "t", 0), Some(5));
        delete(&[("groupName", "g"), ("cleanOffset", "true")]);
        assert_eq!(m.offsets.query("g", "t", 0), None);
    }

    #[test]
    fn list_is_taken_as_a_whole_or_not_at_all() {
        let m = managers(|_| ());
        let update = |body: &str| {
            let request = request(&[]).with_body(body.as_bytes().to_vec());
            with_view(&request, |view| processor(&m).update_list(view))
        };
        let refused =
            update(r#"{"groupConfigList":[{"groupName":"g"},{"groupName":"a b"}]}"#).unwrap_err();
        assert_eq!(refused.response_code().0, 29);
        assert!(m.groups.get("g").is_none());
        update(r#"{"groupConfigList":[{"groupName":"g"},{"groupName":"h"}]}"#).unwrap();
        assert!(m.groups.get("g").is_some() && m.groups.get("h").is_some());
    }

    #[test]
    fn group_cannot_have_more_queues_to_try_again_from_than_a_topic_can() {
        let m = managers(|_| ());
        let update = |number: &str| {
            let group = format!(r#"{{"groupName":"g","retryQueueNums":{number}}}"#);
            let list = format!(r#"{{"groupConfigList":[{group}]}}"#);
            let one = request(&[]).with_body(group.into_bytes());
            let many = request(&[]).with_body(list.into_bytes());
            [
                with_view(&one, |view| processor(&m).update(view)),
                with_view(&many, |view| processor(&m).update_list(view)),
            ]
        };
        for refused in update("65537").into_iter().chain(update("2147483647")) {
            assert_eq!(refused.unwrap_err().response_code().0, 29);
        }
        assert!(m.groups.get("g").is_none());
        for taken in update("65536").into_iter().chain(update("-1")) {
            taken.unwrap();
        }
    }

    #[test]
    fn group_may_be_forbidden_a_topic_and_allowed_it_again() {
        let m = managers(|_| ());
        let ask = |more: &[(&str, &str)]| {
            let mut fields = vec![("group", "g"), ("topic", "t")];
            fields.extend(more);
            let answer = with_view(&request(&fields), |view| processor(&m).forbidden(view));
            body(&answer.unwrap()).to_owned()
        };
        assert_eq!(ask(&[]), r#"{"group":"g","readable":true,"topic":"t"}"#);
        assert_eq!(ask(&[("readable", "false")]), r#"{"group":"g","readable":false,"topic":"t"}"#);
        assert_eq!(ask(&[]), r#"{"group":"g","readable":false,"topic":"t"}"#);
        assert_eq!(ask(&[("readable", "true")]), r#"{"group":"g","readable":true,"topic":"t"}"#);

        let long = "x".repeat(256);
        for (group, topic) in [("g", long.as_str()), (&long, "t")] {
            let fields = [("group", group), ("topic", topic), ("readable", "false")];
            let answer = with_view(&request(&fields), |view| processor(&m).forbidden(view));
            assert_eq!(answer.unwrap_err().response_code().0, 29);
        }
    }

    #[test]
    fn page_goes_by_sorted_names_and_starts_anew_when_the_version_differs() {
        let m = managers(|_| ());
        let (all, total) = list(&m, &[]);
        assert_eq!((all.len(), total.as_str()), (8, "8"));
        let version = fastjson::to_vec(
            &m.groups.snapshot().data_version,
            oxmq_protocol::fastjson::Dialect::Raw,
        );
        let version = String::from_utf8(version.unwrap()).unwrap();
        let page = |seq: &str, version: &str| {
            list(&m, &[("groupSeq", seq), ("maxGroupNum", "3"), ("dataVersion", version)]).0
        };
        assert_eq!(page("3", &version), all[3..6]);
        assert_eq!(page("6", &version), all[6..]);
        assert_eq!(page("9", &version), [""; 0]);
        assert_eq!(page("3", r#"{"counter":99}"#), all[..3]);
        assert_eq!(page("3", ""), all[..3]);
    }
}
