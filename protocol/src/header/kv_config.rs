//! The name server's key-value settings.

header! {
    /// `PUT_KV_CONFIG` (100).
    ///
    /// Reference: `PutKVConfigRequestHeader` (remoting), 5.5.0.
    pub struct PutKVConfigRequestHeader {
        namespace: String = "namespace",
        key: String = "key",
        value: String = "value",
    }

    /// `GET_KV_CONFIG` (101).
    ///
    /// Reference: `GetKVConfigRequestHeader` (remoting), 5.5.0.
    pub struct GetKVConfigRequestHeader {
        namespace: String = "namespace",
        key: String = "key",
    }

    /// Answer to `GET_KV_CONFIG`.
    ///
    /// Reference: `GetKVConfigResponseHeader` (remoting), 5.5.0.
    pub struct GetKVConfigResponseHeader {
        value: Option<String> = "value",
    }

    /// `DELETE_KV_CONFIG` (102).
    ///
    /// Reference: `DeleteKVConfigRequestHeader` (remoting), 5.5.0.
    pub struct DeleteKVConfigRequestHeader {
        namespace: String = "namespace",
        key: String = "key",
    }

    /// `GET_KVLIST_BY_NAMESPACE` (219).
    ///
    /// Reference: `GetKVListByNamespaceRequestHeader` (remoting), 5.5.0.
    pub struct GetKVListByNamespaceRequestHeader {
        namespace: String = "namespace",
    }
}
