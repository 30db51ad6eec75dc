//! A proxy that is sent SIGHUP reads its file again, and goes on by the old one if the new one is wrong.

use crate::EXPECTED;
use crate::stage::Stage;
use std::process::Command;

#[test]
fn a_hangup_has_the_proxys_file_read_again() {
    let stage = Stage::up("reload", &[]);
    let (file, pid) = (stage.dir.join("proxy/dauphin.toml"), stage.show()["proxy"]["pid"].to_string());
    let hang_up = |change: &dyn Fn(String) -> String| {
        let text = std::fs::read_to_string(&file).expect("its file");
        let changed = change(text.clone());
        assert_ne!(changed, text, "nothing was changed");
        std::fs::write(&file, changed).expect("written");
        assert!(Command::new("kill").args(["-HUP", &pid]).status().expect("kill runs").success());
    };
    hang_up(&|text| text.replace("[proxy]\n", "[proxy]\nclients_max_user = 77\n"));
    stage.until_file_says("proxy/log/proxy.log", "clients_max_user from");
    hang_up(&|text| text.replace("clients_max_user = 77", "clients_max_user = 0"));
    stage.until_file_says("proxy/log/proxy.log", "1 to 100000");
    // whoever comes is served by what was read last
    assert_eq!(stage.sql(stage.write_port(), "SELECT 1"), "1");
    assert_eq!(stage.show()["proxy"]["pid"].to_string(), pid);
    stage.down_after(&[EXPECTED, &["the configuration stays as it was"]].concat());
}
