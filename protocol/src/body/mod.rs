//! Bodies: serde structs, one file per family, written and read through `fastjson`.
