//! The real and the simulated disk keep the same promises.

use std::sync::Arc;

use longshore_storage::{Directory, FsDirectory};
use longshore_testkit::conformance::CHECKS;
use longshore_testkit::sim_disk::SimDisk;
use longshore_testkit::sim_env::SimEnvironment;

#[test]
fn the_real_file_system_conforms() {
    for check in CHECKS {
        println!("{}", check.name);
        let temp = tempfile::tempdir().unwrap();
        let dir: Arc<dyn Directory> = Arc::new(FsDirectory::open(temp.path()).unwrap());
        // The lock's own file would be seen by checks that list; none of them locks first.
        (check.run)(&dir);
    }
}

#[test]
fn the_simulated_disk_conforms() {
    for (seed, check) in CHECKS.iter().enumerate() {
        println!("{}", check.name);
        (check.run)(&SimDisk::new(seed as u64, SimEnvironment::new(0)).root());
    }
}
