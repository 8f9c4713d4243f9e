extension JSONValue {
  /// Parses one document from an array; see `init(parsing:base:rules:)`.
  public init(parsing bytes: [UInt8], rules: JSONRules = JSONRules()) throws(ParseFailure) {
    try self.init(parsing: bytes.span.bytes, rules: rules)
  }
}
