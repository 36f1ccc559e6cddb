//! Measurements: [`server`] starts the program under test, [`load`] and [`work`] send requests to it, [`spread`] computes
//! mean and confidence interval over rounds, [`report`] and [`page`] write the report, [`machine`] describes the machine.

pub mod load;
pub mod machine;
pub mod page;
pub mod report;
pub mod server;
pub mod spread;
pub mod work;
