/// What has to be remembered of bytes that were written, so that the file can be completed later, perhaps by another process:
/// their CRC-32, and where they stand in the item that a checksum is taken of.
public struct WriteNote: Sendable, Hashable {
  /// Number of the file among the output's.
  public var file: UInt32
  /// Number of the item among the file's.
  public let item: UInt32
  /// Of the first byte in the item.
  public let offset: UInt64
  public let byteCount: UInt64
  public let checksum: UInt32

  public init(file: UInt32 = 0, item: UInt32, offset: UInt64, byteCount: UInt64, checksum: UInt32) {
    self.file = file
    self.item = item
    self.offset = offset
    self.byteCount = byteCount
    self.checksum = checksum
  }
}
