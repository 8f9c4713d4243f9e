internal import CKernels

/// The instruction sets that kernels are compiled for. Conversions give the same bytes on each of them, and so does the
/// forward pass in float32; see `Compute` for the ones that multiply in BF16.
public enum InstructionSet: Int, CaseIterable, Comparable, Sendable, CustomStringConvertible {
  /// Portable C without vector instructions: the definition of every result.
  case scalar = 0
  /// x86-64 with AVX2, FMA and F16C.
  case avx2 = 1
  /// x86-64 with AVX-512 F, BW, DQ and VL.
  case avx512 = 2
  /// The same with AVX-512 BF16, whose dot products serve `Compute.bf16`.
  case avx512BF16 = 3
  /// The same with AMX BF16: matrix products on tiles.
  case amx = 4
  /// AArch64 with its vector instructions.
  case neon = 5

  /// The best one that this processor and operating system support, up to the limit set.
  public static var best: InstructionSet { InstructionSet(rawValue: Int(ck_best_level().rawValue)) ?? .scalar }

  /// All that this processor and operating system support, in ascending order.
  public static var available: [InstructionSet] { allCases.filter(\.isAvailable) }

  var isAvailable: Bool { ck_has_level(level) != 0 }

  /// Keeps the whole process from using better ones from now on: to compare instruction sets, and to rule one out when a
  /// machine is suspected.
  public static func limit(to instructionSet: InstructionSet) { ck_limit_level(instructionSet.level) }

  public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }

  public var description: String {
    switch self {
    case .scalar: "scalar"
    case .avx2: "avx2"
    case .avx512: "avx512"
    case .avx512BF16: "avx512_bf16"
    case .amx: "amx"
    case .neon: "neon"
    }
  }

  /// Whether products of float32 values are made in float32, in one order of summation on all such sets.
  public var multipliesInFloat32: Bool { self != .amx }

  var level: ck_level { ck_level(rawValue: UInt32(rawValue)) ?? .scalar }
}
