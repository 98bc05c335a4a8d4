//! Clusters of services inside a test
