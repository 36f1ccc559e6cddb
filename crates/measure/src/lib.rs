//! Measuring: [`server`] starts what is measured, [`load`] and [`work`] drive it, [`spread`] says what its turns come to,
//! [`report`] and [`page`] show that, [`machine`] where it was measured.

pub mod load;
pub mod machine;
pub mod page;
pub mod report;
pub mod server;
pub mod spread;
pub mod work;
