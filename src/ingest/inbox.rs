pub fn forget(_subtransaction: u32) {}
