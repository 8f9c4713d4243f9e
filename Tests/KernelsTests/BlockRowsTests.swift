import Kernels
import Support
import Tensors
import Testing

private let levels = InstructionSet.available
private let written = BlockFormat.allCases.filter(\.canQuantize)
private let read = BlockFormat.allCases.filter(\.canDequantize)

func quantize(
  _ values: [Float], columns: Int, _ format: BlockFormat, weights: [Float]? = nil, _ level: InstructionSet
) -> [UInt8] {
  var bytes = [UInt8](repeating: 0xAA, count: values.count / format.elementCount * format.byteCount)
  var span = bytes.mutableSpan
  BlockRows.quantize(
    values.span, columns: columns, format: format, columnWeights: weights?.span, into: &span, instructionSet: level)
  return bytes
}

func dequantize(_ bytes: [UInt8], _ format: BlockFormat, _ level: InstructionSet) -> [Float] {
  var values = [Float](repeating: -1, count: bytes.count / format.byteCount * format.elementCount)
  var span = values.mutableSpan
  BlockRows.dequantize(bytes.span.bytes, format: format, into: &span, instructionSet: level)
  return values
}

/// Data that quantizers meet, and some that they should not.
private enum Kind: CaseIterable {
  case gaussian, roundedToBF16, heavyTailed, constant, nearlyConstant, zeros, oneSided, negative, signedZeros, ties
  case midpoints
  case sparse, apart, huge, tiny, tinier, subnormal, anyBits

  func values(_ count: Int, _ random: inout SeededRandom) -> [Float] {
    let constant = random.normal()
    return (0..<count).map { index in
      let normal = random.normal()
      let choice = Int.random(in: 0..<8, using: &random)
      switch self {
      case .gaussian: return normal * 0.02
      case .roundedToBF16: return Float(bitPattern: (normal * 0.02).bitPattern & 0xFFFF_0000)
      case .heavyTailed: return normal / max(abs(random.normal()), 1e-6)
      case .constant: return constant
      case .nearlyConstant: return Float(bitPattern: (-abs(constant)).bitPattern + UInt32(choice / 3))
      case .zeros: return 0
      case .oneSided: return max(normal, choice < 4 ? 0 : -0.0)
      case .negative: return -abs(normal) - 3
      case .signedZeros: return choice < 4 ? 0 : -0.0
      case .ties: return Float(choice - 4) * 0.25
      case .midpoints:
        // Halfway between codes of E2M1 against a maximum of 6, and next to it.
        guard index % 16 != 0 else { return 6 }
        let middle: Float = [0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5, 0.5][choice]
        let near = [middle, middle.nextUp, middle.nextDown][index % 3]
        return normal < 0 ? -near : near
      case .sparse: return choice == 0 && index % 5 == 0 ? normal : 0
      case .apart: return normal * Float(sign: .plus, exponent: index / 16 * 37 % 90 - 70, significand: 1)
      case .huge: return normal * 0x1p125
      case .tiny: return normal * 0x1p-40
      case .tinier: return normal * 0x1p-75
      case .subnormal: return normal * 0x1p-135
      case .anyBits: return Float(bitPattern: UInt32.random(in: 0...UInt32.max, using: &random))
      }
    }
  }
}

@Suite("Rows of ggml blocks")
struct BlockRowsTests {
  /// Bytes are the same on every level. Rows of 1280 and 1792 elements leave blocks over in every group of every level.
  @Test(arguments: levels.filter { $0 > .scalar }, written)
  func quantizesAsTheScalarLevel(_ level: InstructionSet, _ format: BlockFormat) {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    for kind in Kind.allCases {
      for columns in [256, 1280, 1792] {
        let values = kind.values(3 * columns, &random)
        let weights = (0..<columns).map { $0 % 7 == 0 ? 0 : abs(random.normal()) }
        for weights in [nil, weights, [Float](repeating: 0, count: columns)] {
          #expect(
            quantize(values, columns: columns, format, weights: weights, level)
              == quantize(values, columns: columns, format, weights: weights, .scalar),
            "\(kind), \(columns) columns, weights \(weights?.last ?? -1), seed \(seed)")
        }
      }
    }
  }

  /// Values are the same on every level for any bytes; a NaN is one on each of them.
  @Test(arguments: levels.filter { $0 > .scalar }, read)
  func dequantizesAsTheScalarLevel(_ level: InstructionSet, _ format: BlockFormat) {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    let bytes = (0..<999 * format.byteCount).map { _ in UInt8.random(in: 0...255, using: &random) }
    let patterns = [level, .scalar].map { dequantize(bytes, format, $0).map { $0.isNaN ? 0x7FC0_0000 : $0.bitPattern } }
    #expect(patterns[0] == patterns[1], "seed \(seed)")
  }

  /// A row's bytes do not depend on the rows that are quantized with it.
  @Test(arguments: levels, written)
  func rowsAreIndependent(_ level: InstructionSet, _ format: BlockFormat) {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    let columns = 768
    let values = Kind.apart.values(5 * columns, &random)
    for weights in [nil, (0..<columns).map { _ in abs(random.normal()) }] {
      let rows = (0..<5).flatMap { row in
        quantize(Array(values[row * columns..<(row + 1) * columns]), columns: columns, format, weights: weights, level)
      }
      #expect(quantize(values, columns: columns, format, weights: weights, level) == rows, "seed \(seed)")
    }
  }

  /// A NaN or infinity that a caller let through spoils its own block only.
  @Test(arguments: levels, written)
  func faultsStayInTheirBlock(_ level: InstructionSet, _ format: BlockFormat) {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    let values = Kind.gaussian.values(2048, &random)
    let clean = quantize(values, columns: 2048, format, level)
    for fault in [Float.nan, .infinity, -.infinity] {
      for index in [0, 700, 2047] {
        var spoilt = values
        spoilt[index] = fault
        var bytes = quantize(spoilt, columns: 2048, format, level)
        let start = index / format.elementCount * format.byteCount
        bytes.replaceSubrange(start..<start + format.byteCount, with: clean[start..<start + format.byteCount])
        #expect(bytes == clean, "\(fault) at \(index), seed \(seed)")
      }
    }
  }

  /// Column weights change the bytes, but where the page says that they are not used.
  @Test(arguments: written)
  func usesColumnWeights(_ format: BlockFormat) {
    var random = SeededRandom(seed: 1)
    let values = Kind.gaussian.values(2048, &random)
    let weights = (0..<2048).map { Float($0 % 5) }
    let isIgnored = [.q8_0, .mxfp4, .nvfp4].contains(format)
    let plain = quantize(values, columns: 2048, format, .best)
    #expect((quantize(values, columns: 2048, format, weights: weights, .best) == plain) == isIgnored)
  }

  /// Scales beyond F16 are seen, in every place where a block has one.
  @Test(arguments: read)
  func findsNonFiniteScales(_ format: BlockFormat) {
    let places: [BlockFormat: [Int]] = [
      .q4_0: [0], .q4_1: [0, 2], .q5_0: [0], .q5_1: [0, 2], .q8_0: [0], .iq4_nl: [0], .q4_k: [0, 2], .q5_k: [0, 2],
      .q6_k: [208], .q2_k: [80, 82], .q3_k: [108], .iq4_xs: [0], .q1_0: [0], .q2_0: [0], .tq1_0: [52], .tq2_0: [64],
    ]
    let sound = (0..<3 * format.byteCount).map { UInt8($0 % 0x70) }
    #expect(BlockRows.firstNonFiniteScale(sound.span.bytes, format: format) == nil)
    for place in places[format] ?? [] {
      for pattern: UInt16 in [0x7C00, 0xFC00, 0x7E01] {
        var bytes = sound
        bytes[2 * format.byteCount + place] = UInt8(truncatingIfNeeded: pattern)
        bytes[2 * format.byteCount + place + 1] = UInt8(pattern >> 8)
        #expect(BlockRows.firstNonFiniteScale(bytes.span.bytes, format: format) == 2, "\(pattern) at \(place)")
        #expect(dequantize(bytes, format, .scalar).suffix(format.elementCount).contains { !$0.isFinite })
      }
    }
    if format == .mxfp4 {
      let bytes = [UInt8](repeating: 254, count: 17) + [UInt8](repeating: 255, count: 17)
      #expect(BlockRows.firstNonFiniteScale(bytes.span.bytes, format: format) == 1)
    }
  }

  /// The names and sizes are those of the element types in files.
  @Test func formatsAreTheBlockTypes() {
    #expect(BlockFormat.allCases.map(\.rawValue).sorted() == BlockType.allCases.map(\.rawValue).sorted())
    for type in BlockType.allCases {
      let format = BlockFormat(rawValue: type.rawValue)
      #expect(format?.elementCount == type.size.elements && format?.byteCount == type.size.bytes, "\(type)")
    }
    let closed = BlockFormat.allCases.filter { !$0.canDequantize }.map(\.rawValue).sorted()
    #expect(closed == ["IQ1_M", "IQ1_S", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ3_S", "IQ3_XXS", "Q8_1", "Q8_K"])
    #expect(written.allSatisfy(\.canDequantize) && written.count == 11)
  }

  @Test func refusesWhatItCannotDo() async {
    await #expect(processExitsWith: .failure) {
      _ = quantize([Float](repeating: 0, count: 256), columns: 256, .q2_k, .scalar)
    }
    await #expect(processExitsWith: .failure) { _ = dequantize([UInt8](repeating: 0, count: 66), .iq2_xxs, .scalar) }
    await #expect(processExitsWith: .failure) {
      _ = quantize([Float](repeating: 0, count: 64), columns: 16, .q8_0, .scalar)
    }
  }
}
