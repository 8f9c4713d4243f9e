import ByteIO
import GGUFFormat
import Support
import Tensors
import Testing

/// A file that must be refused, and how.
struct HostileFile: Sendable, CustomTestStringConvertible {
  let testDescription: String
  let item: String?
  let says: String
  /// Where the fault is.
  let offset: @Sendable (GGUFBytes.Places) -> Int
  /// What the file system would say of the file's size, where it matters and the bytes would be too many.
  let fileByteCount: UInt64?
  let edit: @Sendable (inout GGUFBytes) -> Void

  init(
    _ name: String, _ says: String, item: String? = nil, size: UInt64? = nil,
    at offset: @escaping @Sendable (GGUFBytes.Places) -> Int, _ edit: @escaping @Sendable (inout GGUFBytes) -> Void
  ) {
    testDescription = name
    self.item = item
    self.says = says
    self.offset = offset
    fileByteCount = size
    self.edit = edit
  }
}

extension HostileFile {
  static let huge: UInt64 = 1 << 62

  /// Item 1 of the guard list: magic number, version, byte order, counts.
  static let fixedParts: [HostileFile] = [
    HostileFile("another magic number", "begins with the bytes 47 47 4d 4c", at: { _ in 0 }) {
      $0.magic = Array("GGML".utf8)
    },
    HostileFile("big-endian", "is big-endian", at: { _ in 4 }) { $0.version = 3 << 24 },
    HostileFile("big-endian, version 2", "is big-endian", at: { _ in 4 }) { $0.version = 2 << 24 },
    HostileFile("version 0", "the version is 0", at: { _ in 4 }) { $0.version = 0 },
    HostileFile("version 1", "the version is 1", at: { _ in 4 }) { $0.version = 1 },
    HostileFile("version 4", "the version is 4", at: { _ in 4 }) { $0.version = 4 },
    HostileFile("a negative number of tensors", "tensors is negative: -1", at: { _ in 8 }) { $0.tensorCount = .max },
    HostileFile("a negative number of keys", "keys is negative: -9223372036854775808", at: { _ in 16 }) {
      $0.keyCount = 1 << 63
    },
    HostileFile("more tensors than bytes", "claims 1000000 tensors", at: { _ in 8 }) { $0.tensorCount = 1_000_000 },
    HostileFile("so many tensors that their size overflows", "tensors, its", at: { _ in 8 }) {
      $0.tensorCount = 768_614_336_404_564_651
    },
    HostileFile("more keys than bytes", "claims 1000000 keys", at: { _ in 16 }) { $0.keyCount = 1_000_000 },
    HostileFile("so many keys that their size overflows", "keys, its", at: { _ in 16 }) { $0.keyCount = .max / 13 + 1 },
    HostileFile("keys and tensors that fit each but not both", "a header of 20 keys and 14 tensors", at: { _ in 24 }) {
      ($0.keyCount, $0.tensorCount) = (20, 14)
    },
    HostileFile("more tensors than allowed", "at most 1048576 are allowed", size: huge, at: { _ in 8 }) {
      $0.tensorCount = 1 << 20 + 1
    },
    HostileFile("more keys than allowed", "at most 1048576 are allowed", size: huge, at: { _ in 16 }) {
      $0.keyCount = 1 << 20 + 1
    },
  ]

  /// Items 2 and 3: strings and arrays.
  static let sizes: [HostileFile] = [
    HostileFile(
      "a string beyond the end", "a string takes 400 bytes, the file has only", item: "a.count",
      at: { $0.values[1] + 8 }
    ) { $0.keys[1] = .init("a.count", 8, GGUFBytes.number(400, 8)) },
    HostileFile(
      "a string of 2^64 - 1 bytes", "at most 1073741824", item: "a.count", at: { $0.values[1] }
    ) { $0.keys[1] = .init("a.count", 8, GGUFBytes.number(.max, 8)) },
    HostileFile(
      "a string of more than 1 GiB in a larger file", "at most 1073741824", item: "a.count", size: huge,
      at: { $0.values[1] }
    ) { $0.keys[1] = .init("a.count", 8, GGUFBytes.number(1 << 30 + 1, 8)) },
    HostileFile(
      "a header of more than 256 MiB", "with which metadata and tensor table pass 268435456", item: "a.count",
      size: huge, at: { $0.values[1] + 8 }
    ) { $0.keys[1] = .init("a.count", 8, GGUFBytes.number(1 << 28, 8)) },
    HostileFile("a key beyond the end", "a key takes 5000 bytes", at: { $0.keys[1] + 8 }) { $0.keys[1].length = 5000 },
    HostileFile("a key of more than 65,535 bytes", "a key has 65536 bytes", at: { $0.keys[1] }) {
      $0.keys[1].name = [UInt8](repeating: 0x61, count: 65_536)
    },
    HostileFile(
      "an array of more than 2^30 elements", "at most 1073741824", item: "a.count", size: huge,
      at: { $0.values[1] + 4 }
    ) { $0.keys[1] = .init("a.count", 9, GGUFBytes.array(0, 1 << 30 + 1, [])) },
    HostileFile(
      "an array of 2^64 - 1 elements", "at most 1073741824", item: "a.count", at: { $0.values[1] + 4 }
    ) { $0.keys[1] = .init("a.count", 9, GGUFBytes.array(12, .max, [])) },
    HostileFile(
      "an array beyond the end", "an array of 1000 UINT8 takes 1000 bytes", item: "a.count", at: { $0.values[1] + 12 }
    ) { $0.keys[1] = .init("a.count", 9, GGUFBytes.array(0, 1000, [])) },
    HostileFile(
      "an array of 8-byte numbers beyond the end", "an array of 100 FLOAT64 takes 800 bytes", item: "a.count",
      at: { $0.values[1] + 12 }
    ) { $0.keys[1] = .init("a.count", 9, GGUFBytes.array(12, 100, [])) },
    HostileFile(
      "an array of more strings than their lengths leave room for", "an array of 100 STRING takes 800 bytes",
      item: "a.count", at: { $0.values[1] + 12 }
    ) { $0.keys[1] = .init("a.count", 9, GGUFBytes.array(8, 100, [])) },
    HostileFile(
      "a string of an array beyond the end", "a string of an array takes 5000 bytes", item: "a.count",
      at: { $0.values[1] + 12 + 9 + 8 }
    ) { $0.keys[1] = .init("a.count", 9, GGUFBytes.array(8, 2, GGUFBytes.string("x") + GGUFBytes.number(5000, 8))) },
  ]

  /// Item 4: keys and types of values.
  static let keys: [HostileFile] = [
    HostileFile("an empty key", "a key is empty", at: { $0.keys[1] }) { $0.keys[1].name = [] },
    HostileFile("a key twice", "appears twice", item: "a.count", at: { $0.keys[2] }) { $0.keys.append($0.keys[1]) },
    HostileFile("a key that is no UTF-8", "a key is no UTF-8", at: { $0.keys[1] }) { $0.keys[1].name = [0xFF] },
    HostileFile("a key with NUL", "a key has a NUL in it", item: "a\0b", at: { $0.keys[1] }) {
      $0.keys[1].name = Array("a\0b".utf8)
    },
    HostileFile("an unknown type", "has the number 13", item: "a.count", at: { $0.values[1] - 4 }) {
      $0.keys[1].type = 13
    },
    HostileFile("the type 2^32 - 1", "has the number 4294967295", item: "a.count", at: { $0.values[1] - 4 }) {
      $0.keys[1].type = .max
    },
    HostileFile("an array of an unknown type", "has the number 13", item: "a.count", at: { $0.values[1] }) {
      $0.keys[1] = .init("a.count", 9, GGUFBytes.array(13, 0, []))
    },
    HostileFile("an array of arrays", "an array of arrays", item: "a.count", at: { $0.values[1] }) {
      $0.keys[1] = .init("a.count", 9, GGUFBytes.array(9, 1, GGUFBytes.array(0, 1, [1])))
    },
  ]

  /// Items 5 and 6: names and extents.
  static let tensors: [HostileFile] = [
    HostileFile("a name of 64 bytes", "has 64 bytes, at most 63", at: { $0.tensors[1] }) {
      $0[tensor: 1].name = [UInt8](repeating: 0x62, count: 64)
    },
    HostileFile("a name of 2^63 bytes", "at most 63 are allowed", at: { $0.tensors[1] }) {
      $0[tensor: 1].length = 1 << 63
    },
    HostileFile("an empty name", "a tensor's name is empty", at: { $0.tensors[1] }) { $0[tensor: 1].name = [] },
    HostileFile("a name twice", "listed twice", item: "a", at: { $0.tensors[1] }) { $0[tensor: 1].name = [0x61] },
    HostileFile("a name that is no UTF-8", "name is no UTF-8", at: { $0.tensors[1] }) { $0[tensor: 1].name = [0xC3] },
    HostileFile("a name with NUL", "name has a NUL in it", item: "b\0", at: { $0.tensors[1] }) {
      $0[tensor: 1].name = [0x62, 0]
    },
    HostileFile("five dimensions", "has 5 dimensions", item: "b", at: { $0.ranks[1] }) { $0[tensor: 1].rank = 5 },
    HostileFile("2^32 - 1 dimensions", "has 4294967295 dimensions", item: "b", at: { $0.ranks[1] }) {
      $0[tensor: 1].rank = .max
    },
    HostileFile("a negative extent", "an extent is negative: -32", item: "b", at: { $0.ranks[1] + 12 }) {
      $0[tensor: 1].extents[1] = UInt64(bitPattern: -32)
    },
    HostileFile("extents whose product is 2^64", "number of elements", item: "b", at: { $0.types[1] }) {
      $0[tensor: 1].extents = [1 << 32, 1 << 32]
    },
    HostileFile("extents whose product passes 2^64", "number of elements", item: "b", at: { $0.types[1] }) {
      $0[tensor: 1].extents = [1 << 22, 1 << 22, 1 << 22, 3]
    },
    HostileFile("2^61 elements of eight bytes", "overflows", item: "b", at: { $0.types[1] }) {
      ($0[tensor: 1].extents, $0[tensor: 1].type) = ([1 << 61], 28)
    },
    HostileFile("blocks of 2^63 bytes", "the size of shape", item: "b", at: { $0.types[1] }) {
      $0[tensor: 1].extents = [32, 1 << 58 - 1]
    },
  ]

  /// Item 7: element types.
  static let types: [HostileFile] =
    [4, 5, 31, 32, 33, 36, 37, 38].map { id in
      HostileFile("the removed type \(id)", "number \(id), which ggml no longer uses", item: "b", at: { $0.types[1] }) {
        $0[tensor: 1].type = id
      }
    }
    + [43, 133, 202, .max].map { id in
      HostileFile("the type \(id)", "number \(id), the largest known is 42", item: "b", at: { $0.types[1] }) {
        $0[tensor: 1].type = id
      }
    } + [
      HostileFile("rows of half a block", "no whole number of Q8_0's blocks", item: "b", at: { $0.types[1] }) {
        $0[tensor: 1].extents = [16, 4]
      },
      HostileFile("a scalar of blocks", "no whole number of Q8_0's blocks", item: "b", at: { $0.types[1] }) {
        $0[tensor: 1].extents = []
      },
    ]

  /// Item 8.
  static let alignments: [HostileFile] =
    [0, 3, 48, 1 << 21, 1 << 31].map { value in
      HostileFile("the alignment \(value)", "the alignment is \(value)", item: "general.alignment", at: { $0.keys[2] })
      {
        $0.keys.append(.init("general.alignment", 4, GGUFBytes.number(value, 4)))
      }
    } + [
      HostileFile("an alignment of UINT64", "the value is UINT64", item: "general.alignment", at: { $0.keys[2] }) {
        $0.keys.append(.init("general.alignment", 10, GGUFBytes.number(32, 8)))
      },
      HostileFile("an alignment of INT32", "the value is INT32", item: "general.alignment", at: { $0.keys[2] }) {
        $0.keys.append(.init("general.alignment", 5, GGUFBytes.number(32, 4)))
      },
    ]

  /// Items 9 and 10: offsets, and what the file holds.
  static let places: [HostileFile] = [
    HostileFile("data that begins late", "bytes would belong to no tensor", item: "a", at: { $0.tensors[0] }) {
      for index in 0..<3 { $0[tensor: index].offset += 32 }
      $0.dataByteCount += 32
    },
    HostileFile("a gap", "bytes would belong to no tensor", item: "c", at: { $0.tensors[2] }) {
      $0[tensor: 2].offset = 192
      $0.dataByteCount += 32
    },
    HostileFile("an overlap", "would overlap", item: "c", at: { $0.tensors[2] }) { $0[tensor: 2].offset = 128 },
    HostileFile("another order", "bytes would belong to no tensor", item: "b", at: { $0.tensors[0] }) {
      $0.tensors.swapAt(0, 1)
    },
    HostileFile("no padding", "no multiple of the alignment 32", item: "c", at: { $0.tensors[2] }) {
      $0[tensor: 2].offset = 132
    },
    HostileFile("an offset of 2^64 - 32", "bytes would belong to no tensor", item: "b", at: { $0.tensors[1] }) {
      $0[tensor: 1].offset = .max - 31
    },
    HostileFile("a layout for another alignment", "no multiple of the alignment 64", item: "c", at: { $0.tensors[2] }) {
      $0.keys.append(.init("general.alignment", 4, GGUFBytes.number(64, 4)))
      $0.alignment = 64
    },
    // The largest number of Q8_0's blocks of 34 bytes whose size is below 2^63.
    HostileFile("a tensor of almost 2^63 bytes", "more than 9223372036854775807", item: "b", at: { $0.tensors[1] }) {
      $0[tensor: 1].extents = [32, UInt64(Int64.max) / 34]
    },
    HostileFile("padding that passes 2^63", "more than 9223372036854775807", item: "b", at: { $0.tensors[1] }) {
      // Of Q8_1, 36 bytes each: the tensor ends 16 bytes below 2^63, nearer than the alignment.
      ($0[tensor: 1].extents, $0[tensor: 1].type) = ([32, (UInt64(Int64.max) - 64) / 36], 9)
    },
    HostileFile("tensors of 2^63 bytes together", "more than 9223372036854775807", item: "c", at: { $0.tensors[2] }) {
      $0[tensor: 1].extents = [32, 1 << 57]
      ($0[tensor: 2].extents, $0[tensor: 2].type, $0[tensor: 2].offset) = ([32, 1 << 57], 8, 34 << 57 + 64)
    },
    HostileFile("a tensor beyond the end", "the file ends at byte", item: "c", at: { $0.data + 192 }) {
      $0[tensor: 2].extents = [17]
    },
    HostileFile("no final padding", "the file ends at byte", item: "c", at: { $0.data + 166 }) {
      $0.dataByteCount = 166
    },
    HostileFile("no data", "the file ends at byte", item: "c", at: { $0.data }) { $0.dataByteCount = 0 },
  ]

  static let all = fixedParts + sizes + keys + tensors + types + alignments + places
}

@Suite("Files that are refused")
struct HostileFileTests {
  @Test func theFileThatIsEditedIsRight() throws {
    let file = try opened(GGUFBytes().encoded.bytes)
    #expect(file.tensors.map(\.name) == ["a", "b", "c"])
    #expect(file.tensors.map(\.shape) == [[2, 8], [2, 32], [3]])
    #expect(file.tensors.map(\.elementType) == [.f32, .block(.q8_0), .i16])
    #expect(file.header.trailingByteCount == 0 && file.header.alignment == 32)
    #expect(try file.metadata.requiredScalar("a.count", as: UInt32.self) == 7)
  }

  @Test(arguments: HostileFile.all)
  func refuses(_ hostile: HostileFile) throws {
    var file = GGUFBytes()
    hostile.edit(&file)
    let (bytes, places) = file.encoded
    let size = hostile.fileByteCount ?? UInt64(bytes.count)
    let failure = #expect(throws: ParseFailure.self) { try GGUFHeader(parsing: bytes, fileByteCount: size) }
    let fault = Fault(item: hostile.item, offset: UInt64(hostile.offset(places)), says: hostile.says)
    fault.check(failure)
    guard hostile.fileByteCount == nil else { return }
    let second = #expect(throws: ParseFailure.self) { try opened(bytes) }
    fault.check(second)
    #expect(second?.file?.hasSuffix("x.gguf") == true)
  }

  @Test func typesOfForksAreExplained() {
    var file = GGUFBytes()
    file[tensor: 1].type = 137
    let failure = #expect(throws: ParseFailure.self) { try opened(file.encoded.bytes) }
    #expect(failure?.advice?.contains("fork") == true)
  }

  /// Allowed, just: none of these may be caught by a bound that is one too small.
  @Test func acceptsWhatIsAtTheLimit() throws {
    var file = GGUFBytes()
    file[tensor: 1].name = [UInt8](repeating: 0x62, count: 63)
    file.keys[1].name = [UInt8](repeating: 0x61, count: 65_535)
    file.keys.append(.init("empty", 9, GGUFBytes.array(8, 0, [])))
    file.keys.append(.init("nothing", 8, GGUFBytes.string("")))
    file.keys.append(.init("bytes", 8, GGUFBytes.number(1, 8) + [0xFF]))
    file[tensor: 2].extents = [1, 16, 1, 1]
    let read = try opened(file.encoded.bytes)
    #expect(read.tensors[1].name.utf8.count == 63)
    #expect(read.tensors[2].shape == [1, 1, 16, 1])
    #expect(read.metadata["empty"] == .array(GGUFArray([String]())))
    #expect(read.metadata["bytes"] == .string(GGUFString(bytes: [0xFF])))
    #expect(throws: ParseFailure.self) { try read.metadata.string("bytes") }
    var version2 = GGUFBytes()
    version2.version = 2
    #expect(try opened(version2.encoded.bytes).header.version == 2)
  }

  @Test func extentsOfZeroAndScalars() throws {
    var file = GGUFBytes()
    file[tensor: 0].extents = [0, 5]
    file[tensor: 1].offset = 0
    file[tensor: 2].extents = []
    file[tensor: 2].offset = 96
    file.dataByteCount = 128
    let read = try opened(file.encoded.bytes)
    #expect(read.tensors.map(\.byteCount) == [0, 68, 2])
    #expect(read.tensors[2].shape == [])
  }

  @Test func everyPrefixIsRefused() throws {
    let bytes = GGUFBytes().encoded.bytes
    for count in 0..<bytes.count {
      let failure = #expect(throws: ParseFailure.self, "the first \(count) bytes") {
        try GGUFHeader(parsing: Array(bytes[..<count]), fileByteCount: UInt64(count))
      }
      #expect(failure?.offset != nil)
    }
  }

  /// The start of a larger file, of which too little was given.
  @Test func aHeaderThatIsCutOffInMemory() throws {
    let (bytes, places) = GGUFBytes().encoded
    #expect(
      try GGUFHeader(parsing: Array(bytes[..<places.data]), fileByteCount: UInt64(bytes.count)).entries.count == 3)
    for count in [3, 24, places.keys[1] + 5, places.types[2] + 11] {
      let failure = #expect(throws: ParseFailure.self) {
        try GGUFHeader(parsing: Array(bytes[..<count]), fileByteCount: UInt64(bytes.count))
      }
      #expect(failure?.offset == UInt64(count) && failure?.message.contains("behind the bytes given") == true)
    }
  }

  @Test func everyPrefixOfAFileIsRefused() throws {
    let bytes = GGUFBytes().encoded.bytes
    for count in stride(from: bytes.count - 1, through: 0, by: -5) {
      #expect(throws: ParseFailure.self, "the first \(count) bytes") { try opened(Array(bytes[..<count])) }
    }
  }

  @Test func whatFollowsIsTold() throws {
    let bytes = GGUFBytes().encoded.bytes
    #expect(try opened(bytes + [1, 2, 3]).header.trailingByteCount == 3)
    let failure = #expect(throws: ParseFailure.self) { try opened(bytes + bytes) }
    Fault(offset: UInt64(bytes.count), says: "another GGUF file").check(failure)
    var empty = GGUFBytes()
    (empty.tensors, empty.dataByteCount) = ([], 0)
    #expect(try opened(empty.encoded.bytes).header.trailingByteCount == 0)
    #expect(throws: ParseFailure.self) { try opened(empty.encoded.bytes + bytes) }
  }

  @Test(arguments: [
    ("version https://git-lfs.github.com/spec/v1", "git lfs"), ("PK\u{3}\u{4}", "zip"), ("<!DOCTYPE html>", "web page"),
    ("tjgg", "before GGUF"), ("FUGG", "reversed"),
  ])
  func namesOtherFiles(_ start: String, _ says: String) {
    let bytes = Array(start.utf8) + [UInt8](repeating: 0, count: 40)
    let failure = #expect(throws: ParseFailure.self) { try opened(bytes) }
    #expect(failure?.advice?.contains(says) == true, "\(String(describing: failure))")
  }
}
