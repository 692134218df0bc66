//! A model's configuration as people write it: protobuf's text format, and JSON.

use std::sync::LazyLock;

use prost::Message;
use prost_reflect::text_format::FormatOptions;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};

use crate::proto::DESCRIPTORS;
use crate::proto::inference::ModelConfig;

static CONFIG: LazyLock<MessageDescriptor> = LazyLock::new(|| {
    let pool = DescriptorPool::decode(DESCRIPTORS).expect("the protocols' own descriptors");
    pool.get_message_by_name("inference.ModelConfig").expect("it is one of them")
});

/// As a `config.pbtxt` holds it.
#[must_use]
pub fn config_as_text(config: &ModelConfig) -> String {
    let options = FormatOptions::new().pretty(true);
    dynamic(config).to_text_format_with_options(&options)
}

/// With the names of the fields as the text format has them, and those alone that are set.
#[must_use]
pub fn config_as_json(config: &ModelConfig) -> serde_json::Value {
    let options = SerializeOptions::new().use_proto_field_name(true).stringify_64_bit_integers(false);
    dynamic(config)
        .serialize_with_options(serde_json::value::Serializer, &options)
        .expect("every message of the schema has a JSON form")
}

fn dynamic(config: &ModelConfig) -> DynamicMessage {
    let bytes = config.encode_to_vec();
    DynamicMessage::decode(CONFIG.clone(), bytes.as_slice()).expect("it is of the same schema")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_name_what_is_set() {
        let config = ModelConfig { name: "m".into(), max_batch_size: 8, ..ModelConfig::default() };
        let text = config_as_text(&config);
        assert!(text.contains("name: \"m\"") && text.contains("max_batch_size: 8"), "{text}");
        assert_eq!(config_as_json(&config), serde_json::json!({ "name": "m", "max_batch_size": 8 }));
    }
}
