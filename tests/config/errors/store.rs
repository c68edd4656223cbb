//! Errors in `[store]`.

errors! {
    unknown_store_is_rejected:
        "\"memory:\"" => "\"memcached://cache\"",
        at "\"memcached://cache\"", "`memcached://cache` is not a store URL", hint "redis://";
    journal_beside_redis_in_missing_folder_is_rejected:
        "\"memory:\"" => "\"redis://cache\"\njournal_file = \"absent/a\"",
        at "\"absent/a\"", "invalid journal path", hint "folder";
    journal_in_missing_folder_is_rejected:
        "\"memory:\"" => "\"memory:\"\njournal_file = \"absent/a\"",
        at "\"absent/a\"", "invalid journal path", hint "folder";
    folder_as_journal_is_rejected:
        "\"memory:\"" => "\"memory:\"\njournal_file = \"keys\"",
        at "\"keys\"", "invalid journal path", hint "a file";
    database_name_is_rejected:
        "\"memory:\"" => "\"redis://cache/main\"",
        at "\"redis://cache/main\"", "database number", hint "/1";
    url_fragment_is_rejected:
        "\"memory:\"" => "\"rediss://cache/0#insecure\"",
        at "\"rediss://cache/0#insecure\"", "more than an address and a database", hint "rediss://";
    url_without_host_is_rejected:
        "\"memory:\"" => "\"redis:///0\"",
        at "\"redis:///0\"", "has no host", hint "host:6379";
    user_without_password_is_rejected:
        "\"memory:\"" => "\"rediss://cache\"\n[store.redis]\nusername = \"doorward\"",
        at "\"doorward\"", "needs a password", hint "password_file";
    second_password_is_rejected:
        "\"memory:\"" => "\"rediss://:x@cache\"\n[store.redis]\npassword_file = \"store.secret\"",
        at "\"store.secret\"", "has a password too", hint "keep one";
    ca_file_without_tls_is_rejected:
        "\"memory:\"" => "\"redis://cache\"\n[store.redis]\nca_file = \"tls/ca.pem\"",
        at "\"tls/ca.pem\"", "does not use TLS", hint "rediss://";
    nodes_without_cluster_are_rejected:
        "\"memory:\"" => "\"redis://cache\"\n[store.redis]\nnodes = [\"other\"]",
        at "[\"other\"]", "need a Cluster", hint "cluster = true";
    node_as_url_is_rejected:
        "\"memory:\"" =>
            "\"redis://cache\"\n[store.redis]\ncluster = true\nnodes = [\"redis://other\"]",
        at "\"redis://other\"", "is not a host and port", hint "redis-2.internal:6379";
    cluster_with_sentinel_is_rejected:
        "\"memory:\"" =>
            "\"redis://cache\"\n[store.redis]\ncluster = true\nsentinel_master = \"a\"",
        at "\"a\"", "`cluster` is set too", hint "remove one";
    cluster_with_database_is_rejected:
        "\"memory:\"" => "\"redis://cache/1\"\n[store.redis]\ncluster = true",
        at "true", "only has database 0", hint "number";
    sentinel_login_without_sentinel_is_rejected:
        "\"memory:\"" =>
            "\"redis://cache\"\n[store.redis]\nsentinel_password_file = \"store.secret\"",
        at "\"store.secret\"", "Sentinel is not used", hint "sentinel_master";
    hash_tag_in_key_prefix_is_rejected:
        "\"memory:\"" => "\"redis://cache\"\n[store.redis]\nkey_prefix = \"{a}\"",
        at "\"{a}\"", "invalid key prefix", hint "doorward:";
    long_timeout_is_rejected:
        "\"memory:\"" => "\"redis://cache\"\n[store.redis]\ntimeout = \"1m\"",
        at "\"1m\"", "60 s is too long", hint "5s";
    missing_password_file_is_rejected:
        "\"memory:\"" => "\"rediss://cache\"\n[store.redis]\npassword_file = \"absent\"",
        at "\"absent\"", "no such file", hint "absent";
}
