import Foundation
import Support
import Testing

/// A model of at most 1 MB that claims, or unfolds to, far more.
struct HostileModel: Sendable, CustomTestStringConvertible {
  let testDescription: String
  let make: @Sendable (_ folder: URL) throws -> Void
  /// What is given to the program, in the folder.
  let path: String

  init(_ description: String, path: String = ".", make: @escaping @Sendable (URL) throws -> Void) {
    testDescription = description
    self.path = path
    self.make = make
  }

  static let size = 1_000_000

  private static func file(_ folder: URL, _ name: String, _ bytes: [UInt8]) throws {
    try #require(bytes.count <= size)
    try Data(bytes).write(to: folder.appending(path: name))
  }

  private static func configuration(_ folder: URL) throws {
    let source = Fixtures.bundled("golden/model/bf16/config.json")
    try FileManager.default.copyItem(at: source, to: folder.appending(path: "config.json"))
  }

  /// Text until `size` is reached.
  private static func repeated(_ start: String, _ end: String, _ unit: (Int) -> String) -> [UInt8] {
    var text = Array(start.utf8)
    var number = 0
    while text.count < size - 100 {
      text += Array(unit(number).utf8)
      number += 1
    }
    return text + Array(end.utf8)
  }

  private static func safetensors(_ header: [UInt8], claiming count: Int? = nil) -> [UInt8] {
    littleEndian(UInt64(count ?? header.count)) + header
  }

  static func littleEndian(_ value: some FixedWidthInteger) -> [UInt8] {
    (0..<value.bitWidth / 8).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
  }

  private static func header(_ name: String, _ bytes: [UInt8]) -> HostileModel {
    HostileModel("safetensors, \(name)") {
      try configuration($0)
      try file($0, "model.safetensors", bytes)
    }
  }

  static let safetensorsFiles = [
    header("a header of 99 MB claimed", safetensors([UInt8](repeating: 0x20, count: 900_000), claiming: 99_000_000)),
    header("a header of brackets", safetensors(repeated("{\"a\":", "") { _ in "[" })),
    header(
      "20,000 empty tensors",
      safetensors(
        repeated("{", "\"z\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}") {
          "\"\($0)\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},"
        })),
    header(
      "a shape of 400,000 dimensions",
      safetensors(
        repeated("{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,0],\"shape\":[0", "]}}") { _ in ",1" })),
    header("100,000 metadata", safetensors(repeated("{\"__metadata__\":{", "\"z\":\"\"}}") { "\"\($0)\":\"\"," })),
    HostileModel("an index of 60,000 tensors in as many shards") {
      try configuration($0)
      let index = repeated("{\"metadata\":{},\"weight_map\":{", "\"z\":\"z\"}}") { "\"\($0)\":\"\($0)\"," }
      try file($0, "model.safetensors.index.json", index)
    },
    HostileModel("a configuration of 480,000 numbers") {
      try file($0, "config.json", repeated("{\"architectures\":[0", "]}") { _ in ",0" })
      try file($0, "model.safetensors", safetensors(Array("{}".utf8)))
    },
    HostileModel("a configuration of 120,000 keys") {
      try file($0, "config.json", repeated("{", "\"\":0}") { "\"\($0)\":0," })
      try file($0, "model.safetensors", safetensors(Array("{}".utf8)))
    },
    HostileModel("a quantization of 90,000 ignored modules") {
      let ignored = repeated(
        "{\"model_type\":\"llama\",\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"ignore\":[",
        "\"\"]}}"
      ) { "\"a\($0)\"," }
      try file($0, "config.json", ignored)
      try file($0, "model.safetensors", safetensors(Array("{}".utf8)))
    },
  ]

  // MARK: GGUF

  private static func gguf(_ name: String, tensors: UInt64 = 0, keys: UInt64, _ rest: [UInt8]) -> HostileModel {
    HostileModel("GGUF, \(name)", path: "x.gguf") {
      try file(
        $0, "x.gguf", Array("GGUF".utf8) + littleEndian(UInt32(3)) + littleEndian(tensors) + littleEndian(keys) + rest)
    }
  }

  private static func key(_ name: String, type: UInt32) -> [UInt8] {
    littleEndian(UInt64(name.utf8.count)) + Array(name.utf8) + littleEndian(type)
  }

  /// An array of a type: 4 is u32, 8 strings, 9 arrays.
  private static func array(_ name: String, of type: UInt32, _ count: UInt64) -> [UInt8] {
    key(name, type: 9) + littleEndian(type) + littleEndian(count)
  }

  private static let filler = [UInt8](repeating: 0, count: size - 4096)

  static let ggufFiles = [
    gguf("2⁶² keys claimed", keys: 1 << 62, filler),
    gguf("2⁶² tensors claimed", tensors: 1 << 62, keys: 0, filler),
    gguf("a million keys claimed", keys: 1 << 20, filler),
    gguf("a million tensors claimed", tensors: 1 << 20, keys: 0, filler),
    gguf("a string of 2⁶² bytes claimed", keys: 1, key("a", type: 8) + littleEndian(UInt64(1) << 62) + filler),
    gguf("a string of 2³⁰ bytes claimed", keys: 1, key("a", type: 8) + littleEndian(UInt64(1) << 30) + filler),
    gguf("2⁶² numbers claimed", keys: 1, array("a", of: 4, 1 << 62) + filler),
    gguf("2³⁰ strings claimed", keys: 1, array("a", of: 8, 1 << 30) + filler),
    gguf("2³⁰ arrays claimed", keys: 1, array("a", of: 9, 1 << 30) + filler),
    gguf("124,000 empty tokens", keys: 1, array("tokenizer.ggml.tokens", of: 8, UInt64(filler.count / 8)) + filler),
    gguf("82,000 empty arrays", keys: 1, array("a", of: 9, UInt64(filler.count / 12)) + filler),
    gguf(
      "75,000 keys", keys: 75_000,
      (0..<75_000).flatMap { [1, 0, 0, 0, 0, 0, 0, 0, UInt8($0 % 128), 7, 0, 0, 0] as [UInt8] }),
  ]

  // MARK: .pth

  /// A whole archive whose pickle is `content` as stored (method 8: deflated), said to be `count` bytes.
  private static func archive(
    _ content: [UInt8], method: UInt16 = 0, count: UInt32? = nil, checksum: UInt32 = 0
  ) -> [UInt8] {
    var (local, directory): ([UInt8], [UInt8]) = ([], [])
    func add(_ name: String, _ content: [UInt8], _ method: UInt16, _ count: Int, _ checksum: UInt32) {
      let fields =
        littleEndian(UInt16(0)) + littleEndian(method) + littleEndian(UInt32(0)) + littleEndian(checksum)
        + littleEndian(UInt32(content.count)) + littleEndian(UInt32(count)) + littleEndian(UInt16(name.utf8.count))
        + littleEndian(UInt16(0))
      directory += [0x50, 0x4B, 1, 2, 20, 0, 20, 0] + fields + [UInt8](repeating: 0, count: 10)
      directory += littleEndian(UInt32(local.count)) + Array(name.utf8)
      local += [0x50, 0x4B, 3, 4, 20, 0] + fields + Array(name.utf8) + content
    }
    add("x/data.pkl", content, method, count.map { Int($0) } ?? content.count, checksum)
    add("x/version", [0x33], 0, 1, crc32([0x33]))
    let end: [UInt8] = [0x50, 0x4B, 5, 6, 0, 0, 0, 0, 2, 0, 2, 0]
    return local + directory + end + littleEndian(UInt32(directory.count)) + littleEndian(UInt32(local.count)) + [0, 0]
  }

  private static func pth(_ name: String, _ archive: @escaping @Sendable () -> [UInt8]) -> HostileModel {
    HostileModel(".pth, \(name)") {
      try FileManager.default.copyItem(
        at: Fixtures.bundled("tiny_meta/mp2/params.json"), to: $0.appending(path: "params.json"))
      try file($0, "consolidated.00.pth", archive())
    }
  }

  /// A pickle of as many `unit`s as fit.
  private static func pickle(
    _ name: String, _ unit: [UInt8], after start: [UInt8] = [], before end: [UInt8] = []
  ) -> HostileModel {
    pth(name) {
      let count = (size - 4096) / unit.count
      let bytes = [0x80, 2] + start + Array(repeatElement(unit, count: count).joined()) + end + [0x2E]
      return archive(bytes, checksum: crc32(bytes))
    }
  }

  /// CRC-32 (ISO 3309), bit by bit: the oracle of a reader that has tables.
  private static func crc32(_ bytes: [UInt8]) -> UInt32 {
    ~bytes.reduce(~0) { sum, byte in
      (0..<8).reduce(sum ^ UInt32(byte)) { value, _ in value >> 1 ^ (value & 1 == 0 ? 0 : 0xEDB8_8320) }
    }
  }

  /// A raw deflate stream of one block in fixed codes (RFC 1951, 3.2.6): one literal, then as many copies of 258 bytes from
  /// distance 1 as fit.
  private static func bomb(_ literal: UInt8) -> (stream: [UInt8], unfolded: Int) {
    var (bytes, bits, held): ([UInt8], UInt32, Int) = ([], 0, 0)
    func put(_ value: UInt32, _ count: Int, isCode: Bool) {
      for index in 0..<count {
        bits |= (value >> UInt32(isCode ? count - 1 - index : index) & 1) << UInt32(held)
        held += 1
        if held == 8 {
          bytes.append(UInt8(bits))
          (bits, held) = (0, 0)
        }
      }
    }
    put(0b011, 3, isCode: false)
    put(UInt32(literal) + 0x30, 8, isCode: true)
    let copies = (size - 4096) * 8 / 13
    for _ in 0..<copies {
      put(0b1100_0101, 8, isCode: true)
      put(0, 5, isCode: true)
    }
    put(0, 7, isCode: true)
    if held > 0 { bytes.append(UInt8(bits)) }
    return (bytes, 1 + 258 * copies)
  }

  static let pthFiles = [
    pth("a pickle of 160 MB deflated") {
      let (stream, count) = bomb(0x5D)
      return archive(stream, method: 8, count: UInt32(count))
    },
    pth("a pickle of 160 MB deflated, said to be 60 MB") { archive(bomb(0x5D).stream, method: 8, count: 60_000_000) },
    pth("a pickle of 160 MB deflated, said to be 1 kB") { archive(bomb(0x5D).stream, method: 8, count: 1000) },
    pickle("a pickle of a million empty lists", [0x5D]),
    pickle("a pickle of a million empty dictionaries", [0x7D]),
    pickle("a pickle of a million marks", [0x28]),
    pickle("a pickle of a million copies", [0x32], after: [0x5D]),
    pth("a pickle of 490,000 lists in lists") {
      let half = [UInt8](repeating: 0x5D, count: 490_000)
      let bytes = [0x80, 2] + half + half.dropFirst().map { _ in 0x61 } + [0x2E]
      return archive(bytes, checksum: crc32(bytes))
    },
    pickle("a pickle of 200,000 memo entries", [0x72, 0xFF, 0xFF, 0x0F, 0], after: [0x5D]),
    pickle("a pickle of 500,000 numbers", [0x4B, 1], after: [0x28], before: [0x74]),
    pickle("a pickle of a million lists in one", [0x5D], after: [0x5D, 0x28], before: [0x65]),
    pickle("a pickle of a million tuples of one", [0x85], after: [0x5D]),
    pickle("a text of 2³¹ bytes claimed", [0x58, 0xFF, 0xFF, 0xFF, 0x7F]),
    pickle("a text of 2⁶³ bytes claimed", [0x8D, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F]),
    pickle("a number of 2³¹ bytes claimed", [0x8B, 0xFF, 0xFF, 0xFF, 0x7F]),
  ]

  // MARK: Tokenizers

  /// Beside a model that is right.
  private static func tokenizer(_ name: String, _ fileName: String, _ bytes: @escaping @Sendable () -> [UInt8])
    -> HostileModel
  {
    HostileModel("\(fileName), \(name)") { folder in
      for name in ["config.json", "model.safetensors"] {
        try FileManager.default.copyItem(
          at: Fixtures.bundled("golden/model/bf16/\(name)"), to: folder.appending(path: name))
      }
      try file(folder, fileName, bytes())
    }
  }

  static let tokenizerFiles = [
    tokenizer("80,000 tokens", "tokenizer.json") {
      repeated("{\"model\":{\"type\":\"BPE\",\"merges\":[],\"vocab\":{", "\"z\":0}}}") { "\"a\($0)\":\($0)," }
    },
    tokenizer("160,000 merges", "tokenizer.json") {
      repeated("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a a\"", "]}}") { _ in ",\"a a\"" }
    },
    tokenizer("one token of 1 MB", "tokenizer.json") {
      repeated("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"", "\":0}}}") { _ in "a" }
    },
    tokenizer("250,000 empty pieces", "tokenizer.model") {
      Array([0x0A, 5, 0x0A, 3, 0x61, 0x61, 0x61] + repeatElement([0x0A, 2, 0x0A, 0], count: 249_000).joined())
    },
    tokenizer("a piece of 1 MB", "tokenizer.model") {
      // Lengths in base 128: 900,006 and 900,001.
      [0x0A, 0xA6, 0xF7, 0x36, 0x0A, 0xA1, 0xF7, 0x36] + [UInt8](repeating: 0x61, count: 900_001)
    },
    tokenizer("a piece of 2³¹ bytes claimed", "tokenizer.model") {
      [0x0A, 0xFF, 0xFF, 0xFF, 0xFF, 7, 0x0A, 0xF0, 0xFF, 0xFF, 0xFF, 7] + filler
    },
    tokenizer("125,000 ranks", "tokenizer.model") { repeated("", "") { "YQ== \($0)\n" } },
    tokenizer("one rank of 1 MB", "tokenizer.model") { repeated("", " 0\n") { _ in "YWFh" } },
  ]

  static let all = safetensorsFiles + ggufFiles + pthFiles + tokenizerFiles
}

@Suite("Memory for hostile files")
struct HostileMemoryTests {
  /// What the program has when it has done nothing: code and data of its libraries, and stacks of its threads, which the
  /// system counts in full (8 MiB each) though a few pages of them are used.
  private static let program = 48 << 20

  /// Runs a program whose private writable memory, used or not, may not exceed the limit: the system refuses more, and the
  /// program dies of it.
  private func run(_ program: Program, _ arguments: [String], limit: Int) throws -> Outcome {
    try Started(
      URL(filePath: "/bin/sh"),
      ["-c", "ulimit -d \(limit >> 10) && exec \"$0\" \"$@\"", program.url.path] + arguments
    ).outcome()
  }

  @Test("A file of 1 MB is inspected within 64 MiB and its size, whatever it claims", arguments: HostileModel.all)
  func inspect(_ model: HostileModel) throws {
    let folder = try TemporaryFolder()
    try model.make(folder.url)
    let limit = Self.program + 64 << 20 + HostileModel.size
    for command in [["inspect"], ["lint"]] {
      let outcome = try run(.convert, command + [folder.file(model.path).path], limit: limit)
      // Refused or, where the rest of the model is right, reported: nothing else.
      #expect(
        [0, 1, 65, 66].contains(outcome.status), "\(command[0]): \(outcome.status) \(outcome.stderr.prefix(300))")
    }
  }

  @Test("The limit is one: a program that needs more dies of it")
  func limits() throws {
    let outcome = try run(.convert, ["inspect", Fixtures.bundled("tiny").path], limit: 1 << 20)
    #expect(outcome.status > 75)
    #expect(try run(.convert, ["inspect", Fixtures.bundled("tiny").path], limit: Self.program).status == 0)
  }
}
