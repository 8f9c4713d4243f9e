import ByteIO
import Support
import Tensors
import Testing
import TorchFormat

/// Strided views, against an oracle that computes every element's place by itself.
@Suite("Strided views")
struct ViewTests {
  struct View: Sendable, CustomTestStringConvertible {
    var type = "HalfStorage"
    var width = 2
    var count = 5000
    let offset: Int
    let sizes: [Int]
    let strides: [Int]
    var testDescription: String { "\(sizes) by \(strides) from \(offset)" }

    /// Of the storage.
    var content: [UInt8] { (0..<count * width).map { UInt8(truncatingIfNeeded: $0 &* 2_654_435_761 >> 13) } }

    var file: [UInt8] { TorchBytes.archive(pickle, ["0": content]).encoded.bytes }

    var pickle: [UInt8] {
      func tuple(_ values: [Int]) -> String { "MARK " + values.map { "\($0) " }.joined() + "TUPLE" }
      return PickleAssembler(
        #"EMPTY_DICT "a" $v2 MARK "storage" @torch.\#(type) "0" "cpu" \#(count) TUPLE BINPERSID "#
          + "\(offset) \(tuple(sizes)) \(tuple(strides)) $end SETITEM"
      ).bytes
    }

    /// Bytes in row-major order, element by element.
    var expected: [UInt8] {
      let content = content
      var places = [offset]
      for (size, stride) in zip(sizes, strides) {
        places = places.flatMap { place in (0..<size).map { place + $0 * stride } }
      }
      return places.flatMap { content[$0 * width..<($0 + 1) * width] }
    }
  }

  static let views: [View] = [
    View(offset: 0, sizes: [5000], strides: [1]),
    View(offset: 0, sizes: [], strides: []),
    View(offset: 4999, sizes: [], strides: []),
    View(offset: 7, sizes: [70, 70], strides: [70, 1]),
    View(offset: 7, sizes: [70, 70], strides: [1, 70]),
    View(offset: 0, sizes: [30, 100], strides: [1, 50]),
    View(offset: 0, sizes: [2, 2500], strides: [1, 2]),
    View(offset: 1, sizes: [40, 30], strides: [100, 3]),
    View(offset: 1, sizes: [40, 30], strides: [3, 100]),
    View(offset: 1, sizes: [1, 40], strides: [9999, 65]),
    View(offset: 1, sizes: [40, 1], strides: [65, 9999]),
    View(offset: 0, sizes: [4, 1, 5, 1, 6], strides: [1000, 1, 200, 77, 30]),
    View(offset: 3, sizes: [3, 4, 5], strides: [1, 3, 12]),
    View(offset: 3, sizes: [3, 4, 5], strides: [20, 1, 4]),
    View(offset: 4, sizes: [10, 20], strides: [0, 1]),
    View(offset: 4, sizes: [10, 20], strides: [1, 0]),
    View(offset: 4, sizes: [10, 20], strides: [0, 0]),
    View(offset: 4, sizes: [10, 20], strides: [1, 1]),
    View(offset: 0, sizes: [0], strides: [1]),
    View(offset: 0, sizes: [3, 0, 4], strides: [1, 1, 1]),
    View(type: "ByteStorage", width: 1, count: 300, offset: 299, sizes: [1], strides: [1]),
    View(type: "DoubleStorage", width: 8, count: 700, offset: 1, sizes: [9, 9], strides: [66, 7]),
    // Rows longer than the reader takes at once.
    View(count: 1_200_000, offset: 0, sizes: [600_000], strides: [2]),
    View(count: 1_200_000, offset: 0, sizes: [2, 9000], strides: [600_000, 66]),
  ]

  @Test(arguments: views)
  func readsEveryPart(_ view: View) throws {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    let file = try opened(view.file)
    let expected = view.expected
    #expect(try file.bytes(of: "a") == expected)
    #expect(file.tensors.map(\.shape.dimensions) == [view.sizes])
    let count = expected.count / view.width
    for _ in 0..<min(20, count) {
      let start = Int.random(in: 0..<count, using: &random)
      let end = Int.random(in: start...min(count, start + 2000), using: &random)
      let range = start * view.width..<end * view.width
      #expect(try part(file, "a", range) == Array(expected[range]), "\(range), seed \(seed)")
    }
    try file.proveIntegrity()
  }

  @Test func readsViewsOfRandomStrides() throws {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    for _ in 0..<200 {
      let rank = Int.random(in: 1...4, using: &random)
      let sizes = (0..<rank).map { _ in Int.random(in: 1...6, using: &random) }
      let strides = (0..<rank).map { _ in Int.random(in: 0...120, using: &random) }
      let view = View(offset: Int.random(in: 0..<1000, using: &random), sizes: sizes, strides: strides)
      #expect(try opened(view.file).bytes(of: "a") == view.expected, "\(view.testDescription), seed \(seed)")
    }
  }

  @Test(
    "Bounds are checked to the element",
    arguments: [
      (View(offset: 1, sizes: [5000], strides: [1]), "number 5000 of a storage of 5000"),
      (View(offset: 5000, sizes: [], strides: []), "number 5000 of a storage of 5000"),
      (View(offset: 0, sizes: [2], strides: [5000]), "number 5000 of a storage of 5000"),
      (View(offset: 0, sizes: [51, 100], strides: [100, 1]), "number 5099 of a storage of 5000"),
      (View(count: 0, offset: 0, sizes: [1], strides: [1]), "number 0 of a storage of 0"),
      (View(offset: .max, sizes: [2], strides: [1]), "extent overflows"),
      (View(offset: 0, sizes: [1 << 40, 2], strides: [1 << 40, 1]), "extent overflows"),
      (View(offset: 0, sizes: [2], strides: [(1 << 48) + 1]), "beyond all bounds"),
      (View(offset: 0, sizes: [(1 << 48) + 1], strides: [0]), "beyond all bounds"),
      (View(offset: 0, sizes: [.max], strides: [.max]), "beyond all bounds"),
      (View(offset: 0, sizes: [1 << 32, 1 << 31], strides: [0, 0]), "overflows"),
      (View(offset: 0, sizes: [1 << 40, 1 << 40, 0], strides: [0, 0, 0]), "overflows"),
    ])
  func refusesWhatLiesOutside(_ view: View, _ says: String) {
    Fault(item: "a", says: says).check(in: view.file)
  }

  @Test(
    "Of an empty tensor offset and strides are of no account",
    arguments: [
      View(offset: .max, sizes: [0], strides: [1]), View(offset: 1 << 62, sizes: [3, 0], strides: [1 << 48, 1 << 48]),
      View(offset: 0, sizes: [0, 1 << 48, 1 << 48], strides: [1 << 48, 1 << 48, 1]),
    ])
  func readsEmptyTensors(_ view: View) throws {
    #expect(try TorchContents(view.file).tensors.map(\.bytes) == [[]])
  }

  /// A kilobyte must not stand for terabytes: neither memory nor reading is lent to it.
  @Test(.timeLimit(.minutes(5)))
  func boundsWhatAViewRepeats() throws {
    func view(_ sizes: [Int], _ strides: [Int], count: Int = 16) -> View {
      View(type: "ByteStorage", width: 1, count: count, offset: 0, sizes: sizes, strides: strides)
    }
    let limit = ViewLimits.repeatedByteCount
    let most = try opened(view([limit / 16, 16], [0, 1]).file)
    #expect(try part(most, "a", limit - 20..<limit) == Array(view([20, 16], [0, 1]).expected.suffix(20)))
    let says = "repeats the 16 bytes of its storage"
    Fault(item: "a", says: says).check(in: view([limit / 16 + 1, 16], [0, 1]).file)
    Fault(item: "a", says: says).check(in: view([1 << 40], [0]).file)
    Fault(item: "a", says: says).check(in: view([1 << 20, 1 << 20], [0, 0]).file)
    // Two elements far apart in each row: what lies between them is not read.
    let far = view([limit / 2, 2], [0, 999_999], count: 1_000_000)
    let pair = [far.content[0], far.content[999_999]]
    #expect(try opened(far.file).bytes(of: "a") == (0..<limit / 2).flatMap { _ in pair })
  }
}

/// A record's CRC is checked with the bytes that are read anyway.
@Suite("Checking records while they are read")
struct RecordGuardTests {
  static let count = 50_000

  /// Tensor `a` is all of the storage, `b` every second byte, `c` one byte.
  private func file(damaged: Bool) throws -> TorchFile {
    let reference = #"MARK "storage" @torch.ByteStorage "0" "cpu" \#(Self.count) TUPLE BINPERSID"#
    let pickle = PickleAssembler(
      "EMPTY_DICT MARK \"a\" $v2 \(reference) 0 \(Self.count) TUPLE1 1 TUPLE1 $end "
        + "\"b\" $v2 \(reference) 0 \(Self.count / 2) TUPLE1 2 TUPLE1 $end "
        + "\"c\" $v2 \(reference) 9 1 TUPLE1 1 TUPLE1 $end SETITEMS")
    var (bytes, places) = TorchBytes.archive(
      pickle.bytes, ["0": (0..<Self.count).map { UInt8(truncatingIfNeeded: $0) }]
    ).encoded
    if damaged { bytes[Int(places.contents["x/data/0"] ?? 0) + 12_345] ^= 4 }
    return try opened(bytes)
  }

  /// Ranges that cover the record, in random order.
  private func pieces(_ random: inout SeededRandom) -> [Range<Int>] {
    var cuts = Set((0..<300).map { _ in Int.random(in: 0...Self.count, using: &random) })
    cuts.formUnion([0, Self.count])
    let sorted = cuts.sorted()
    return zip(sorted, sorted.dropFirst()).map { $0..<$1 }.shuffled(using: &random)
  }

  @Test func noticesDamageWithTheLastPiece() throws {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    let file = try file(damaged: true)
    let pieces = pieces(&random)
    for piece in pieces.dropLast() { _ = try part(file, "a", piece) }
    #expect(throws: ParseFailure.self, "seed \(seed)") { try part(file, "a", pieces[pieces.count - 1]) }
    // And ever after: no second asking helps.
    #expect(throws: ParseFailure.self) { try part(file, "c", 0..<1) }
    #expect(throws: ParseFailure.self) { try file.proveIntegrity() }
    #expect(throws: ParseFailure.self) { try file.proveIntegrity() }
  }

  @Test func provesWhatWasReadInAnyOrder() throws {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    let file = try file(damaged: false)
    for piece in pieces(&random) { _ = try part(file, "a", piece) }
    for _ in 0..<50 {
      let start = Int.random(in: 0..<Self.count, using: &random)
      _ = try part(file, "a", start..<Int.random(in: start...Self.count, using: &random))
    }
    try file.proveIntegrity()
  }

  @Test(arguments: [false, true])
  func readsTheRestInTheEnd(_ isDamaged: Bool) throws {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    let file = try file(damaged: isDamaged)
    // More single bytes than are remembered, pieces that overlap, and most of the record not at all.
    for byte in stride(from: 1, to: Self.count, by: 2) { _ = try part(file, "a", byte..<byte + 1) }
    for _ in 0..<50 {
      let start = Int.random(in: 0..<Self.count - 100, using: &random)
      _ = try part(file, "a", start..<start + 100)
    }
    _ = try part(file, "b", 100..<1000)
    if isDamaged {
      let failure = #expect(throws: ParseFailure.self, "seed \(seed)") { try file.proveIntegrity() }
      #expect(failure?.message.contains("CRC-32") == true)
    } else {
      try file.proveIntegrity()
    }
  }

  @Test(arguments: [false, true])
  func checksAcrossThreads(_ isDamaged: Bool) async throws {
    var random = SeededRandom(seed: SeededRandom.freshSeed())
    let file = try file(damaged: isDamaged)
    let pieces = pieces(&random)
    let failures = await withTaskGroup(of: Int.self) { group in
      for quarter in 0..<4 {
        group.addTask {
          var failures = 0
          for piece in pieces.enumerated() where piece.offset % 4 == quarter {
            do { _ = try part(file, "a", piece.element) } catch { failures += 1 }
          }
          return failures
        }
      }
      return await group.reduce(0, +)
    }
    #expect(failures == (isDamaged ? 1 : 0))
    #expect((try? file.proveIntegrity()) == nil ? isDamaged : !isDamaged)
  }
}
