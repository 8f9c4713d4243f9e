public import Tensors

/// The types among which each linear of a layer can get its own.
public enum LinearType: String, Sendable, Hashable, CaseIterable {
  /// Row-wise e4m3 by the recipe `fp8`; servers quantize activations per token.
  case fp8
  /// Integers of 8 bits with a scale for each row; weights only.
  case int8
  /// Integers of 4 bits in groups that share a scale; weights only.
  case int4
}

/// How a linear is rounded.
public enum LinearRecipe: Sendable, Hashable {
  case fp8(FP8Recipe)
  case integers(IntegerQuantizer)

  /// Bits of codes and scales for each weight.
  /// - Parameters:
  ///   - columns: elements of a row.
  ///   - type: of the weights before rounding.
  public func bitsPerWeight(columns: Int, weightType type: ElementType) -> Double {
    switch self {
    case .fp8(let recipe): 8 + Double(recipe.scaleType(forWeight: type).bits) / Double(columns)
    case .integers(let quantizer):
      quantizer.grid.bitsPerWeight(columns: columns, scaleBits: quantizer.scaleType(forWeight: type).bits)
    }
  }
}

/// What each `LinearType` means for a linear of given width.
public struct LinearRecipes: Sendable, Hashable {
  /// How the scales, or codes, of int4 are found.
  public let method: IntegerMethod
  /// Elements of an int4 group where they divide a row; nil for a whole row.
  public let groupSize: Int?

  /// What servers have kernels for, and published models use.
  public static let defaultGroupSize = 128

  public init(method: IntegerMethod = .mse, groupSize: Int? = defaultGroupSize) {
    self.method = method
    self.groupSize = groupSize
  }

  public func recipe(_ type: LinearType, columns: Int) -> LinearRecipe {
    switch type {
    case .fp8: .fp8(.fp8)
    case .int8:
      // One scale for a row: calibration has nothing to gain, and the methods that feed errors forward are for few bits.
      integers(bits: 8, groupSize: nil, method: method.isCalibrated ? .mse : method)
    case .int4: integers(bits: 4, groupSize: groupSize(columns: columns), method: method)
    }
  }

  /// The wished group where it divides a row, else the largest smaller one of 64 and 32 that does, else nil: a whole row.
  public func groupSize(columns: Int) -> Int? {
    guard let groupSize else { return nil }
    return ([groupSize] + [64, 32].filter { $0 < groupSize }).first { columns % $0 == 0 }
  }

  private func integers(bits: Int, groupSize: Int?, method: IntegerMethod) -> LinearRecipe {
    .integers(
      IntegerQuantizer(
        grid: IntegerGrid(bits: bits, isSymmetric: true, groupSize: groupSize), method: method,
        layout: .compressedTensors))
  }
}
