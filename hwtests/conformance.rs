use super::*;

/// Goal: the device obeys the rules of the seam. Method: the suite that every adapter passes.
#[test]
#[ignore = "needs a device: README.md"]
fn the_device_obeys_the_rules() {
    let device = open(Duration::from_secs(15));
    println!("{:?}", device.geometry());
    drop(device);
    device::conformance::run(&|| open(Duration::from_secs(15)));
}
