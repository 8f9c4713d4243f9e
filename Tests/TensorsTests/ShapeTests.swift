import ByteIO
import Support
import Tensors
import Testing

@Suite("Shapes")
struct ShapeTests {
  @Test(
    "counts elements",
    arguments: [
      ([], 1), ([0], 0), ([1], 1), ([4096, 14336], 58_720_256), ([2, 3, 5], 30), ([0, Int.max, 4], 0),
      ([Int.max], Int.max),
      ([Int.max, 1, 0], 0), ([1 << 31, 1 << 31], 1 << 62),
    ])
  func counts(_ dimensions: [Int], _ count: Int) throws {
    #expect(try Shape(dimensions).elementCount() == count)
  }

  /// In dimension order, as safetensors does: a zero behind the overflow does not help.
  @Test("refuses overflow", arguments: [[Int.max, 2], [Int.max, 4, 0], [1 << 32, 1 << 31], [3, Int.max / 2, 0]])
  func overflows(_ dimensions: [Int]) {
    #expect(throws: ParseFailure.self) { try Shape(dimensions).elementCount() }
    #expect(throws: ParseFailure.self) { try Shape(dimensions).byteCount(of: .u8) }
  }

  @Test func theCountOfBitsIsCheckedToo() throws {
    #expect(throws: ParseFailure.self) { try Shape([Int.max / 8]).byteCount(of: .u16) }
    #expect(try Shape([Int.max / 8]).byteCount(of: .u8) == Int.max / 8)
    #expect(throws: ParseFailure.self) { try Shape([1 << 57]).byteCount(of: .f64) }
    #expect(try Shape([1 << 56]).byteCount(of: .f64) == 1 << 59)
    #expect(try Shape([0, 1 << 62]).byteCount(of: .f64) == 0)
  }

  @Test func rowsAndText() {
    #expect(Shape([7, 3]).rows == 7 && Shape([]).rows == 1 && Shape([0, 3]).rows == 0)
    #expect(Shape([7, 3]).rank == 2 && Shape([]).rank == 0)
    #expect("\(Shape([7, 3]))" == "[7, 3]" && "\(Shape([]))" == "[]")
  }

  @Test func negativeExtentsTrap() async {
    await #expect(processExitsWith: .failure) { _ = Shape([2, -1]) }
  }
}

@Suite("Element types")
struct ElementTypeTests {
  /// Names, widths and order of the reference library (safetensors 0.8.0, its list of dtypes from narrow to wide).
  static let reference: [(name: String, bits: Int)] = [
    ("BOOL", 8), ("F4", 4), ("F6_E2M3", 6), ("F6_E3M2", 6), ("U8", 8), ("I8", 8), ("F8_E5M2", 8), ("F8_E4M3", 8),
    ("F8_E8M0", 8), ("F8_E4M3FNUZ", 8), ("F8_E5M2FNUZ", 8), ("I16", 16), ("U16", 16), ("F16", 16), ("BF16", 16),
    ("I32", 32),
    ("U32", 32), ("F32", 32), ("C64", 64), ("F64", 64), ("I64", 64), ("U64", 64),
  ]

  @Test func namesWidthsAndOrder() {
    #expect(ElementType.allCases.map(\.rawValue) == Self.reference.map(\.name))
    #expect(ElementType.allCases.map(\.bits) == Self.reference.map(\.bits))
  }

  @Test(arguments: ElementType.allCases)
  func sizes(_ type: ElementType) throws {
    #expect(try Shape([8, 3]).byteCount(of: type) == 3 * type.bits)
    #expect(try Shape([0]).byteCount(of: type) == 0)
    // One element alone is a whole number of bytes unless it is narrower than a byte; two suffice for four bits.
    #expect((try? Shape([]).byteCount(of: type)) == (type.bits % 8 == 0 ? type.bits / 8 : nil))
    #expect((try? Shape([2]).byteCount(of: type)) == (type.bits == 6 ? nil : type.bits / 4))
    #expect(ElementType(rawValue: type.rawValue.lowercased()) == nil)
  }

  /// As llama.cpp has them; the gguf package (0.19) lists the same, but 40 bytes for Q8_1, which no file holds, and no Q2_0.
  @Test(
    arguments: [
      ("Q4_0", 32, 18), ("Q4_1", 32, 20), ("Q5_0", 32, 22), ("Q5_1", 32, 24), ("Q8_0", 32, 34), ("Q8_1", 32, 36),
      ("Q2_K", 256, 84), ("Q3_K", 256, 110), ("Q4_K", 256, 144), ("Q5_K", 256, 176), ("Q6_K", 256, 210),
      ("Q8_K", 256, 292), ("IQ2_XXS", 256, 66), ("IQ2_XS", 256, 74), ("IQ3_XXS", 256, 98), ("IQ1_S", 256, 50),
      ("IQ4_NL", 32, 18), ("IQ3_S", 256, 110), ("IQ2_S", 256, 82), ("IQ4_XS", 256, 136), ("IQ1_M", 256, 56),
      ("TQ1_0", 256, 54), ("TQ2_0", 256, 66), ("MXFP4", 32, 17), ("NVFP4", 64, 36), ("Q1_0", 128, 18),
      ("Q2_0", 64, 18),
    ])
  func blocks(_ name: String, _ elements: Int, _ bytes: Int) throws {
    let type = try #require(BlockType(rawValue: name))
    #expect(type.size == (elements, bytes))
    #expect(try Shape([3, 2 * elements]).byteCount(of: .block(type)) == 6 * bytes)
    #expect(throws: ParseFailure.self) { try Shape([elements, elements - 1]).byteCount(of: .block(type)) }
    #expect(throws: ParseFailure.self) { try Shape([Int.max / 2, elements]).byteCount(of: .block(type)) }
    #expect(ElementType(rawValue: name) == nil && ElementType.block(type).rawValue == name)
  }

  @Test func computableTypes() {
    #expect(ElementType.allCases.filter(\.isComputable) == [.f8e4m3, .f16, .bf16, .f32])
  }
}

@Suite("Tensors")
struct TensorInfoTests {
  @Test func sizesFollowFromTypeAndShape() throws {
    let info = try TensorInfo(name: "w", elementType: .bf16, shape: [3, 5])
    #expect(info == TensorInfo(name: "w", elementType: .bf16, shape: [3, 5], byteCount: 30))
    #expect(info.rowByteCount == 10)
    #expect(try TensorInfo(name: "s", elementType: .f32, shape: []).rowByteCount == 4)
    #expect(try TensorInfo(name: "e", elementType: .f32, shape: [0, 5]).rowByteCount == 0)
    let failure = #expect(throws: ParseFailure.self) {
      try TensorInfo(name: "x", elementType: .f4, shape: [3])
    }
    #expect(failure?.item == "x")
  }

  /// A source that has no index of its own.
  struct InMemory: TensorSource {
    let tensors: [TensorInfo]
    func read(_ name: String, at offset: Int, into buffer: inout MutableSpan<UInt8>) throws {
      for index in buffer.indices { buffer[index] = UInt8(truncatingIfNeeded: offset + index) }
    }
  }

  @Test func lookupComparesBytes() throws {
    let source: any TensorSource = InMemory(tensors: [
      try TensorInfo(name: "e\u{301}", elementType: .u8, shape: [2]),
      try TensorInfo(name: "\u{E9}", elementType: .u8, shape: [3]),
    ])
    #expect(source.info("\u{E9}")?.byteCount == 3)
    #expect(source.info("e\u{301}")?.byteCount == 2)
    #expect(try source.bytes(of: "\u{E9}") == [0, 1, 2])
    #expect(throws: ParseFailure.self) { try source.bytes(of: "e") }
  }
}
