use super::*;

const SHAPE: Shape = Shape {
    block: 512,
    capacity: 64 << 20,
    piece: 128 << 10,
    zeroes: None,
    discard: None,
    volatile_cache: false,
    thin: false,
};

fn kind(operation: &Operation, shape: &Shape, read_only: bool) -> Result<bool, ErrorKind> {
    match admit(operation, shape, read_only) {
        Ok(Admission::Run) => Ok(true),
        Ok(Admission::Done) => Ok(false),
        Err(error) => Err(error.kind()),
    }
}

/// Goal: what a device need not be asked for is done, and what it cannot do is refused. Method: operations against
/// devices with and without cache, deallocation and thin provisioning. (Bad ranges are the conformance suite's.)
#[test]
fn commands_are_admitted_by_what_the_device_is() {
    let discard = Operation::Discard { offset: 0, len: 4096 };
    let allocate = Operation::Allocate { offset: 0, len: 4096 };
    let zeroes = Operation::WriteZeroes { offset: 0, len: 4096 };
    let nothing = Operation::WriteZeroes { offset: 4096, len: 0 };
    assert_eq!(kind(&Operation::Flush, &SHAPE, false), Ok(false));
    assert_eq!(kind(&discard, &SHAPE, false), Ok(false));
    assert_eq!(kind(&allocate, &SHAPE, false), Ok(false));
    assert_eq!(kind(&zeroes, &SHAPE, false), Ok(true));
    assert_eq!(kind(&nothing, &SHAPE, false), Ok(false));
    let rich = Shape {
        volatile_cache: true,
        discard: Some(1 << 30),
        thin: true,
        ..SHAPE
    };
    assert_eq!(kind(&Operation::Flush, &rich, false), Ok(true));
    assert_eq!(kind(&Operation::Flush, &rich, true), Ok(false));
    assert_eq!(kind(&discard, &rich, false), Ok(true));
    assert_eq!(kind(&allocate, &rich, false), Err(ErrorKind::Unsupported));
    for operation in [&discard, &allocate, &zeroes] {
        assert_eq!(kind(operation, &rich, true), Err(ErrorKind::PermissionDenied));
    }
}
