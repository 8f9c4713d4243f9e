import ByteIO
import Foundation
import GGUFFormat
import Support
import Testing

/// A GGUF file put together byte by byte, by rules of its own: right as it is, wrong where a test makes it so.
struct GGUFBytes {
  struct Key {
    var name: [UInt8]
    /// What the length field says, when it is not the truth.
    var length: UInt64?
    var type: UInt32
    var value: [UInt8]

    init(_ name: String, _ type: UInt32, _ value: [UInt8]) {
      (self.name, self.type, self.value) = (Array(name.utf8), type, value)
    }
  }

  struct Tensor {
    var name: [UInt8]
    var length: UInt64?
    var rank: UInt32?
    /// Innermost first, as in the file.
    var extents: [UInt64]
    var type: UInt32
    var offset: UInt64
  }

  /// Where things are in the bytes.
  struct Places {
    var keys: [Int] = []
    var values: [Int] = []
    var tensors: [Int] = []
    /// Of each tensor: number of dimensions, first extent, type.
    var ranks: [Int] = []
    var types: [Int] = []
    var data = 0
  }

  var magic = Array("GGUF".utf8)
  var version: UInt32 = 3
  var tensorCount: UInt64?
  var keyCount: UInt64?
  var keys: [Key] = [Key("general.architecture", 8, string("llama")), Key("a.count", 4, number(7, 4))]
  /// 64 bytes of F32, 68 of Q8_0, 6 of I16; each starts at a multiple of 32.
  var tensors: [Tensor] = [
    Tensor(name: Array("a".utf8), extents: [8, 2], type: 0, offset: 0),
    Tensor(name: Array("b".utf8), extents: [32, 2], type: 8, offset: 64),
    Tensor(name: Array("c".utf8), extents: [3], type: 25, offset: 160),
  ]
  var alignment = 32
  /// With all padding: 64, 96 and 32.
  var dataByteCount = 192
  /// Fills the data; padding too.
  var filling: UInt8 = 0x5A

  static func string(_ text: String) -> [UInt8] { number(UInt64(text.utf8.count), 8) + Array(text.utf8) }

  static func number(_ value: UInt64, _ count: Int) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: value >> (8 * UInt64($0))) }
  }

  /// An array's element type, count and elements.
  static func array(_ type: UInt64, _ count: UInt64, _ elements: [UInt8]) -> [UInt8] {
    number(type, 4) + number(count, 8) + elements
  }

  var encoded: (bytes: [UInt8], places: Places) {
    var places = Places()
    var bytes = magic + Self.number(UInt64(version), 4)
    bytes += Self.number(tensorCount ?? UInt64(tensors.count), 8) + Self.number(keyCount ?? UInt64(keys.count), 8)
    for key in keys {
      places.keys.append(bytes.count)
      bytes += Self.number(key.length ?? UInt64(key.name.count), 8) + key.name + Self.number(UInt64(key.type), 4)
      places.values.append(bytes.count)
      bytes += key.value
    }
    for tensor in tensors {
      places.tensors.append(bytes.count)
      bytes += Self.number(tensor.length ?? UInt64(tensor.name.count), 8) + tensor.name
      places.ranks.append(bytes.count)
      bytes += Self.number(UInt64(tensor.rank ?? UInt32(tensor.extents.count)), 4)
      bytes += tensor.extents.flatMap { Self.number($0, 8) }
      places.types.append(bytes.count)
      bytes += Self.number(UInt64(tensor.type), 4) + Self.number(tensor.offset, 8)
    }
    while bytes.count % alignment != 0 { bytes.append(0) }
    places.data = bytes.count
    return (bytes + [UInt8](repeating: filling, count: dataByteCount), places)
  }

  subscript(tensor index: Int) -> Tensor {
    get { tensors[index] }
    set { tensors[index] = newValue }
  }
}

/// Bytes as a file that is open.
func opened(_ bytes: [UInt8]) throws -> GGUFFile {
  let folder = try TemporaryFolder()
  let url = folder.file("x.gguf")
  try Data(bytes).write(to: url)
  return try GGUFFile(path: url.path)
}

/// What a failure must say.
struct Fault {
  var item: String?
  var offset: UInt64?
  let says: String

  func check(_ failure: ParseFailure?, sourceLocation: SourceLocation = #_sourceLocation) {
    guard let failure else { return }
    #expect(failure.message.contains(says), "\(failure)", sourceLocation: sourceLocation)
    #expect(failure.item == item, "\(failure)", sourceLocation: sourceLocation)
    #expect(failure.offset == offset, "\(failure)", sourceLocation: sourceLocation)
  }
}
