internal import ByteIO
internal import Tensors

/// Writes the pickle of a dict of contiguous tensors, opcode for opcode as `torch.save` does (protocol 2, memo included),
/// so that the file's bytes are those that torch itself would write.
struct PickleWriter {
  private(set) var bytes: [UInt8] = []
  private var memoCount = 0
  /// Memo indices of names, words and storage keys that occur again.
  private var known: [String: Int] = [:]

  /// One entry of the dict.
  struct Entry {
    let name: String
    let elementType: ElementType
    let sizes: [Int]
    /// Decimal key of the storage; tensors that share one have the same key.
    let storageKey: String
    let elementCount: Int
  }

  /// torch writes dicts in batches of this many items.
  private static let batch = 1000

  /// - Throws: `ParseFailure` for an element type that torch does not have.
  init(_ entries: [Entry]) throws(ParseFailure) {
    bytes = [0x80, 0x02, 0x7D]  // PROTO 2, EMPTY_DICT
    remember()
    if entries.count == 1 {
      try entry(entries[0])
      bytes.append(0x73)  // SETITEM
    } else if !entries.isEmpty {
      // A count that is a multiple of the batch ends with an empty batch, as in CPython's batch_dict_exact.
      var start = 0
      repeat {
        let end = min(start + Self.batch, entries.count)
        bytes.append(0x28)  // MARK
        for item in entries[start..<end] { try entry(item) }
        bytes.append(0x75)  // SETITEMS
        if end - start < Self.batch { break }
        start = end
      } while true
    }
    bytes.append(0x2E)  // STOP
  }

  private mutating func entry(_ entry: Entry) throws(ParseFailure) {
    guard let type = TorchType(entry.elementType) else {
      throw ParseFailure("torch has no type for \(entry.elementType)", item: entry.name)
    }
    let isTyped = type.storageClass != nil
    text(entry.name)
    remember()
    global("torch._utils", isTyped ? "_rebuild_tensor_v2" : "_rebuild_tensor_v3")
    bytes += [0x28, 0x28]  // MARK of the arguments, MARK of the persistent id
    word("storage")
    if let storageClass = type.storageClass {
      global("torch", storageClass)
    } else {
      global("torch.storage", "UntypedStorage")
    }
    word(entry.storageKey, kind: "key")
    word("cpu")
    integer(isTyped ? entry.elementCount : entry.elementCount * entry.elementType.bits / 8)
    bytes.append(0x74)  // TUPLE
    remember()
    bytes.append(0x51)  // BINPERSID
    integer(0)
    tuple(entry.sizes)
    tuple(try Self.strides(entry))
    bytes.append(0x89)  // NEWFALSE: requires_grad
    global("collections", "OrderedDict")
    bytes += [0x29, 0x52]  // EMPTY_TUPLE, REDUCE: no hooks
    remember()
    if !isTyped { global("torch", type.name) }
    bytes.append(0x74)  // TUPLE
    remember()
    bytes.append(0x52)  // REDUCE
    remember()
  }

  /// Row-major; torch's strides of empty extents count them as 1.
  private static func strides(_ entry: Entry) throws(ParseFailure) -> [Int] {
    var strides: [Int] = []
    var next = 1
    for size in entry.sizes.reversed() {
      strides.append(next)
      let product = next.multipliedReportingOverflow(by: max(size, 1))
      guard !product.overflow else { throw ParseFailure("the tensor's strides overflow", item: entry.name) }
      next = product.partialValue
    }
    return strides.reversed()
  }

  // MARK: Opcodes

  private mutating func remember() {
    if memoCount < 256 {
      bytes += [0x71, UInt8(memoCount)]  // BINPUT
    } else {
      bytes.append(0x72)  // LONG_BINPUT
      number(UInt32(memoCount))
    }
    memoCount += 1
  }

  private mutating func recall(_ index: Int) {
    if index < 256 {
      bytes += [0x68, UInt8(index)]  // BINGET
    } else {
      bytes.append(0x6A)  // LONG_BINGET
      number(UInt32(index))
    }
  }

  private mutating func number(_ value: some FixedWidthInteger) {
    for shift in stride(from: 0, to: value.bitWidth, by: 8) {
      bytes.append(UInt8(truncatingIfNeeded: value >> shift))
    }
  }

  private mutating func text(_ value: String) {
    bytes.append(0x58)  // BINUNICODE
    number(UInt32(value.utf8.count))
    bytes += value.utf8
  }

  /// A string that Python holds once: the second time it is recalled.
  private mutating func word(_ value: String, kind: String = "word") {
    let key = kind + ":" + value
    if let index = known[key] { return recall(index) }
    text(value)
    known[key] = memoCount
    remember()
  }

  private mutating func global(_ module: String, _ name: String) {
    let key = "global:" + module + "." + name
    if let index = known[key] { return recall(index) }
    bytes.append(0x63)  // GLOBAL
    bytes += Array("\(module)\n\(name)\n".utf8)
    known[key] = memoCount
    remember()
  }

  private mutating func integer(_ value: Int) {
    switch value {
    case 0...0xFF: bytes += [0x4B, UInt8(value)]  // BININT1
    case 0...0xFFFF:
      bytes.append(0x4D)  // BININT2
      number(UInt16(value))
    case 0...Int(Int32.max):
      bytes.append(0x4A)  // BININT
      number(Int32(value))
    default:
      // LONG1: as few bytes as two's complement needs.
      var digits: [UInt8] = []
      var rest = UInt64(value)
      while rest > 0 {
        digits.append(UInt8(truncatingIfNeeded: rest))
        rest >>= 8
      }
      if digits[digits.count - 1] & 0x80 != 0 { digits.append(0) }
      bytes += [0x8A, UInt8(digits.count)] + digits
    }
  }

  private mutating func tuple(_ values: [Int]) {
    if values.isEmpty {
      bytes.append(0x29)  // EMPTY_TUPLE
      return
    }
    if values.count > 3 { bytes.append(0x28) }  // MARK
    for value in values { integer(value) }
    bytes.append(values.count > 3 ? 0x74 : 0x84 + UInt8(values.count))  // TUPLE, TUPLE1…3
    remember()
  }
}
