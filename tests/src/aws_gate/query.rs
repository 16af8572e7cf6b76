//! The two ends of AWS's Query protocol: numbered form parameters in, XML out.

use std::collections::BTreeMap;

use url::form_urlencoded;

/// The parameters of a request.
pub(super) struct Params(BTreeMap<String, String>);

impl Params {
    pub(super) fn parse(form: &[u8]) -> Self {
        Self(form_urlencoded::parse(form).into_owned().collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        self.get(name).map(|text| text == "true")
    }

    /// `NAME.1`, `NAME.2`, … in order of their numbers.
    pub(super) fn list(&self, name: &str) -> Vec<String> {
        let mut found: Vec<_> = self
            .0
            .iter()
            .filter_map(|(key, value)| {
                let index = key.strip_prefix(name)?.strip_prefix('.')?;
                Some((index.parse::<u32>().ok()?, value.clone()))
            })
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(_, value)| value).collect()
    }

    /// The indices N for which there is a `NAME.N.REST`.
    fn indices(&self, name: &str, rest: &str) -> Vec<u32> {
        let index = |key: &String| {
            let (index, tail) = key.strip_prefix(name)?.strip_prefix('.')?.split_once('.')?;
            (tail == rest).then(|| index.parse().ok())?
        };
        let mut found: Vec<_> = self.0.keys().filter_map(index).collect();
        found.sort_unstable();
        found
    }

    /// `Filter.N.Name` with its values.
    pub(super) fn filters(&self) -> Vec<(String, Vec<String>)> {
        let filter = |index: u32| {
            let name = self.get(&format!("Filter.{index}.Name"))?.to_owned();
            Some((name, self.list(&format!("Filter.{index}.Value"))))
        };
        self.indices("Filter", "Name")
            .into_iter()
            .filter_map(filter)
            .collect()
    }

    /// `PREFIX.N.Key` with `PREFIX.N.Value`, as in CreateTags (a missing value is empty).
    pub(super) fn tags(&self, prefix: &str) -> BTreeMap<String, String> {
        let tag = |index: u32| {
            let part = |name| {
                self.get(&format!("{prefix}.{index}.{name}"))
                    .map(str::to_owned)
            };
            Some((part("Key")?, part("Value").unwrap_or_default()))
        };
        self.indices(prefix, "Key")
            .into_iter()
            .filter_map(tag)
            .collect()
    }

    /// The tags that `TagSpecification` gives to new resources of `kind`.
    pub(super) fn new_tags(&self, kind: &str) -> BTreeMap<String, String> {
        let of_kind =
            |index: &u32| self.get(&format!("TagSpecification.{index}.ResourceType")) == Some(kind);
        let indices = self.indices("TagSpecification", "ResourceType");
        let tags = |index| self.tags(&format!("TagSpecification.{index}.Tag"));
        indices.into_iter().filter(of_kind).flat_map(tags).collect()
    }

    /// Everything but the protocol's own parameters, for the journal.
    pub(super) fn shown(&self) -> BTreeMap<String, String> {
        let own = |key: &str| matches!(key, "Action" | "Version");
        self.0
            .iter()
            .filter(|(key, _)| !own(key))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect()
    }
}

/// XML under construction.
#[derive(Default)]
pub(super) struct Xml(String);

impl Xml {
    /// A whole EC2 answer to `action`.
    pub(super) fn answer(action: &str, fill: impl FnOnce(&mut Self)) -> String {
        let mut xml = Self::default();
        xml.leaf("requestId", "sandbox");
        fill(&mut xml);
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <{action}Response xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">{}</{action}Response>",
            xml.0
        )
    }

    pub(super) fn leaf(&mut self, name: &str, value: impl ToString) {
        let value = value.to_string();
        self.node(name, |xml| xml.0.push_str(&escape(&value)));
    }

    pub(super) fn node(&mut self, name: &str, fill: impl FnOnce(&mut Self)) {
        self.0.push_str(&format!("<{name}>"));
        fill(self);
        self.0.push_str(&format!("</{name}>"));
    }

    /// `<NAME><item>…</item>…</NAME>`
    pub(super) fn items<T>(
        &mut self,
        name: &str,
        all: impl IntoIterator<Item = T>,
        mut fill: impl FnMut(&mut Self, T),
    ) {
        self.node(name, |xml| {
            for one in all {
                xml.node("item", |xml| fill(xml, one));
            }
        });
    }

    /// A set of plain texts.
    pub(super) fn texts<T: AsRef<str>>(&mut self, name: &str, all: impl IntoIterator<Item = T>) {
        self.items(name, all, |xml, text| {
            xml.0.push_str(&escape(text.as_ref()))
        });
    }
}

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbered_parameters_are_read_in_the_order_of_their_numbers() {
        let form = b"SubnetId.10=c&SubnetId.2=b&SubnetId.1=a&Filter.1.Name=vpc-id&\
            Filter.1.Value.1=vpc-1&TagSpecification.1.ResourceType=vpc-endpoint&\
            TagSpecification.1.Tag.1.Key=k&TagSpecification.1.Tag.1.Value=v";
        let params = Params::parse(form);
        assert_eq!(params.list("SubnetId"), ["a", "b", "c"]);
        assert_eq!(
            params.filters(),
            [("vpc-id".to_owned(), vec!["vpc-1".to_owned()])]
        );
        assert_eq!(
            params.new_tags("vpc-endpoint"),
            [("k".to_owned(), "v".to_owned())].into()
        );
        assert!(params.new_tags("subnet").is_empty());
    }

    #[test]
    fn xml_is_escaped() {
        let xml = Xml::answer("DescribeThings", |xml| xml.texts("thingSet", ["a<b", "c"]));
        assert!(
            xml.contains("<thingSet><item>a&lt;b</item><item>c</item></thingSet>"),
            "{xml}"
        );
    }
}
