/// One record of a zip archive, as the central directory states it and its local header confirms it.
public struct ZipEntry: Sendable, Hashable {
  public enum Method: UInt16, Sendable { case stored = 0, deflated = 8 }

  public let name: String
  public let method: Method
  /// CRC-32 of the content.
  public let checksum: UInt32
  /// Bytes in the archive.
  public let compressedByteCount: UInt64
  /// Bytes of the content; equal to the former when stored.
  public let byteCount: UInt64
  /// Offset of the local header.
  public let headerOffset: UInt64
  /// Offset of the content's first byte in the archive, from the local header.
  public let dataOffset: UInt64

  var dataEnd: UInt64 { dataOffset + compressedByteCount }
}

/// The signatures and fixed sizes of a zip archive (PKWARE's APPNOTE 6.3.10, sections 4.3.7 to 4.3.16).
enum ZipFormat {
  static let localHeader: UInt32 = 0x0403_4B50
  static let dataDescriptor: UInt32 = 0x0807_4B50
  static let centralHeader: UInt32 = 0x0201_4B50
  static let endRecord: UInt32 = 0x0605_4B50
  static let zip64EndRecord: UInt32 = 0x0606_4B50
  static let zip64Locator: UInt32 = 0x0706_4B50

  static let localHeaderByteCount = 30
  static let centralHeaderByteCount = 46
  static let endRecordByteCount = 22
  static let zip64EndRecordByteCount = 56
  static let zip64LocatorByteCount = 20

  /// Sizes and CRC follow the data.
  static let descriptorFlag: UInt16 = 1 << 3
  /// Names are UTF-8.
  static let utf8Flag: UInt16 = 1 << 11
  /// Header id of the extra field with 64-bit sizes.
  static let zip64Extra: UInt16 = 1
  /// Header id of the extra field with another name for the record (Info-ZIP): some readers prefer it, torch does not.
  static let unicodePathExtra: UInt16 = 0x7075
  /// A 32-bit field that says: look into the zip64 extra field.
  static let overflow32: UInt32 = 0xFFFF_FFFF
}
