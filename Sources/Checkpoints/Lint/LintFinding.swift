internal import ByteIO

/// One thing that lint found, with what shows it.
public struct LintFinding: Sendable, Equatable {
  public let code: LintCode
  /// The name of the file in the checkpoint's directory, if the finding is about one.
  public var file: String?
  /// The stored tensor, key or module.
  public var tensor: String?
  /// Byte offset in the file.
  public var offset: UInt64?
  public var found: String?
  public var expected: String?
  /// The finding as one sentence that names tensor, found and expected.
  public let message: String
  public var remedy: String
  /// Tensors and modules about which nothing more need be told.
  var explains: [String] = []

  public var severity: LintCode.Severity { code.severity }

  init(
    _ code: LintCode, _ message: String, file: String? = nil, tensor: String? = nil, offset: UInt64? = nil,
    found: String? = nil, expected: String? = nil, remedy: String? = nil
  ) {
    self.code = code
    self.message = message
    self.file = file
    self.tensor = tensor
    self.offset = offset
    self.found = found
    self.expected = expected
    self.remedy = remedy ?? code.remedy
  }

  /// A reader's refusal as a finding.
  init(_ code: LintCode, _ failure: ParseFailure) {
    var plain = failure
    plain.advice = nil
    self.init(
      code, plain.description, file: failure.file.map { FileSystem.lastComponent(of: $0) }, tensor: failure.item,
      offset: failure.offset, remedy: failure.advice)
  }

  /// Any failure of opening or reading something.
  init(_ code: LintCode, any error: any Error, file: String) {
    if let failure = error as? ParseFailure {
      self.init(code, failure.in(file: file))
    } else {
      self.init(code, "\(error)", file: FileSystem.lastComponent(of: file))
    }
  }

  var document: JSONValue {
    func text(_ value: String?) -> JSONValue { value.map { .string($0) } ?? .null }
    return [
      "code": .string(code.rawValue), "severity": .string(severity.rawValue), "file": text(file),
      "tensor": text(tensor), "offset": offset.map { .number(JSONNumber($0)) } ?? .null, "found": text(found),
      "expected": text(expected), "message": .string(message), "remedy": .string(remedy),
    ]
  }
}
