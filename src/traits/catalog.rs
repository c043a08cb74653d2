pub fn forget() {}
