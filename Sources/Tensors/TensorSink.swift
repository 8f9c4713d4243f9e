/// Something that takes the bytes of planned tensors, in pieces, in any order, from several threads at once.
public protocol TensorSink: Sendable {
  /// Writes `bytes` at byte `offset` of the planned tensor called `name`.
  /// - Throws: `FileFailure` when writing fails.
  func write(_ name: String, at offset: Int, _ bytes: Span<UInt8>) throws
}
